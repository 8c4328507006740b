"""How long after its commit a new version is seen through the front door of a pod: from the time of the commit's file in the state to
the first LIST through `vdt-sidecar` that shows it."""

import threading
import time
from pathlib import Path

from lib.pod import Pod
from lib.vdt import http

from .bed import BUCKET, Artifacts, Bed, arguments, median, table

TABLE = Artifacts("version", 1_000, 20)
VERSIONS = 20


def seen(vdt, name: str, folder: str) -> bool:
    catalog, rest = folder.split("/", 1)
    status, _, body = http("GET", f"{vdt.endpoint}/{catalog}?list-type=2&prefix={rest}/_delta_log/{name}")
    assert status == 200, (status, body)
    return name.encode() in body.split(b"<Contents>", 1)[-1] and b"<Contents>" in body


def run(bed: Bed, runs: int):
    vdt = bed.serve([TABLE], name="versions", kind=Pod)
    client = bed.seaweed.client()
    found = vdt.table(f"t{TABLE.label}")
    folder = f"{found.catalog}/{found.schema}/{found.name}"
    delays = []
    for number in range(1, VERSIONS * max(1, runs // 2) + 1):
        client.put_object(Bucket=BUCKET, Key=f"{TABLE.label}/added-{number:06}.pdf", Body=b"%PDF-1.7 added")
        name = f"{number:020}.json"
        # Known and fresh before the commit, as for a client that looks now and then.
        assert not seen(vdt, name, folder)
        refresh = threading.Thread(target=vdt.refresh)
        refresh.start()
        deadline = time.monotonic() + 30
        while not seen(vdt, name, folder):
            assert time.monotonic() < deadline, vdt.process.tail()
        at = time.time()
        refresh.join()
        committed = (Path(vdt.state) / folder / "_delta_log" / name).stat().st_mtime
        delays.append(max(0.0, at - committed) * 1e3)
    vdt.stop()
    delays.sort()
    row = [len(delays), f"{median(delays):.0f} ms", f"{delays[-1]:.0f} ms"]
    table("A new version, from its commit to the first LIST through the sidecar (aim < 100 ms)", ["versions", "median", "most"], [row])


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.runs)
