"""Cold full scan of a virtual table against a physical Delta table of the same rows on the same SeaweedFS.

Runs come in pairs, in alternating order; the ratio is the median of the pairs' ratios (physical time / virtual time: 1 is as
fast, below 1 slower). Small artifacts are bound by the service's GETs a second, measured with curl in the same run.
"""

import shutil
import subprocess
import time
from pathlib import Path

from lib.clients import place_of

from .bed import BUCKET, SIZES, Artifacts, Bed, arguments, median, once, say, table

CLIENTS = ["delta-rs dataset", "delta-rs query", "DuckDB", "Polars"]
CONNECTIONS = 32


def gets_a_second(bed: Bed, artifacts: Artifacts) -> float | None:
    """What the service gives a client that does nothing else: every artifact once, 32 connections, signed."""
    if not shutil.which("curl"):
        return None
    config = Path(bed.work / "curl")
    lines = []
    for name in artifacts.names():
        lines += [f'url = "{bed.seaweed.endpoint}/{BUCKET}/{artifacts.label}/{name}"', 'output = "/dev/null"']
    config.write_text("\n".join(lines))
    credentials = bed.work / "curl.user"
    credentials.write_text(
        f'user = "{bed.seaweed.access_key}:{bed.seaweed.secret_key}"\naws-sigv4 = "aws:amz:us-east-1:s3"\n'
    )
    argv = [
        "curl",
        "--silent",
        "--fail",
        "--parallel",
        "--parallel-max",
        str(CONNECTIONS),
        "-K",
        credentials,
        "-K",
        config,
    ]
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, timeout=300)
    elapsed = time.perf_counter() - began
    return artifacts.count / elapsed if done.returncode == 0 else None


def cold(bed: Bed, artifacts: Artifacts, client: str) -> dict:
    """A scan through a vdt that has just started, its cache empty."""
    vdt = bed.serve([artifacts], name=f"scan-{artifacts.label}")
    try:
        return once(client, "scan", place_of(vdt.table(f"t{artifacts.label.lower()}")))
    finally:
        vdt.stop(seconds=10)


def run(bed: Bed, size: str, runs: int, only: str | None = None):
    rows = []
    for artifacts in SIZES[size]:
        if only and artifacts.label != only:
            continue
        bed.fill(artifacts)
        physical = bed.physical(artifacts)
        rate = gets_a_second(bed, artifacts)
        for client in CLIENTS:
            pairs = []
            for number in range(runs + 1):  # the first pair warms the service's and the kernel's caches
                times = {}
                for kind in ("p", "v") if number % 2 else ("v", "p"):
                    found = once(client, "scan", physical) if kind == "p" else cold(bed, artifacts, client)
                    assert found["bytes"] == artifacts.bytes, (client, kind, found)
                    times[kind] = found["seconds"]
                if number:
                    pairs.append(times)
            p, v = median(t["p"] for t in pairs), median(t["v"] for t in pairs)
            ratio = median(t["p"] / t["v"] for t in pairs)
            ceiling = p / (artifacts.count / rate) if rate else None
            rows.append(
                [
                    artifacts.label,
                    artifacts.count,
                    client,
                    f"{p:.2f} s",
                    f"{v:.2f} s",
                    f"{artifacts.bytes / v / 1e6:.0f} MB/s",
                    f"**{ratio:.2f}** ({min(t['p'] / t['v'] for t in pairs):.2f}-{max(t['p'] / t['v'] for t in pairs):.2f})",
                    f"{rate:,.0f}" if rate else "-",
                    f"{min(ceiling, 1):.2f}" if ceiling else "-",
                ]
            )
            say(" ".join(str(c) for c in rows[-1]))
    table(
        f"Cold full scan, {runs} pairs",
        [
            "artifacts",
            "count",
            "client",
            "physical",
            "virtual",
            "virtual rate",
            "physical/virtual (range)",
            "curl GETs/s",
            "ceiling of GETs",
        ],
        rows,
    )


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.size, options.runs)
