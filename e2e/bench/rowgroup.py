"""A cold row group of 400 artifacts of 5 kB, through the two processes of a pod and through the server alone, which reads the bucket
without a cache. Pairs, in alternating order; row groups beside each other are not read, so nothing is read ahead."""

import random
import time

from lib.clients import place_of
from lib.pod import Pod
from lib.vdt import http

from .bed import Artifacts, Bed, arguments, median, table
from .memory import data_ranges

TINY = Artifacts("5kB", 5_000, 12_000)


def timed(vdt, path: str, first: int, length: int) -> float:
    """Milliseconds until the last byte of a range is there."""
    began = time.perf_counter()
    status, _, body = http(
        "GET", f"{vdt.endpoint}/{path}", {"Range": f"bytes={first}-{first + length - 1}"}, seconds=60
    )
    elapsed = time.perf_counter() - began
    assert (status, len(body)) == (206, length), (status, len(body))
    return elapsed * 1e3


def run(bed: Bed, runs: int):
    pairs = []
    for number in range(max(1, runs)):
        alone = bed.serve([TINY], name="alone", args=["--no-cache"])
        pod = bed.serve([TINY], name="pod", kind=Pod)
        try:
            groups = data_ranges(place_of(alone.table(f"t{TINY.label.lower()}")))
            assert groups == data_ranges(place_of(pod.table(f"t{TINY.label.lower()}")))
            # The first one pays for connections; every other one of the rest, in any order.
            for vdt in (alone, pod):
                timed(vdt, *groups[0])
            chosen = groups[2::2]
            random.Random(number).shuffle(chosen)
            for at, group in enumerate(chosen):
                order = ("pod", "alone") if at % 2 else ("alone", "pod")
                pairs.append({kind: timed({"pod": pod, "alone": alone}[kind], *group) for kind in order})
        finally:
            pod.stop()
            alone.stop()
    ratios = sorted(pair["pod"] / pair["alone"] for pair in pairs)
    row = [f"{median(p['alone'] for p in pairs):.1f} ms", f"{median(p['pod'] for p in pairs):.1f} ms"]
    row += [f"**{median(ratios):.2f}** ({ratios[len(ratios) // 4]:.2f}-{ratios[len(ratios) * 3 // 4]:.2f})", len(pairs)]
    head = ["server alone", "sidecar and server, cold", "ratio (middle half), aim 1.15", "row groups"]
    table("Cold row group of some 400 artifacts of 5 kB", head, [row])


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.runs)
