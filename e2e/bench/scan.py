"""Cold full scan of a virtual table against a physical Delta table of the same rows on the same SeaweedFS.

Runs come in rounds, in alternating order; a ratio is the median of the rounds' ratios (physical time / virtual time: 1 is as
fast, below 1 slower), once as vdt is and once without its cache. Small artifacts are bound by the service's GETs a second,
measured with curl in the same run. All of it shares the machine's cores, so what CPU each process took is told too.
"""

import shutil
import subprocess
import time
from pathlib import Path

from lib.clients import place_of

from .bed import BUCKET, SIZES, Artifacts, Bed, arguments, cpu, median, say, table

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


def cold(bed: Bed, artifacts: Artifacts, client: str, args=()) -> dict:
    """A scan through a vdt that has just started, its cache empty."""
    vdt = bed.serve([artifacts], name=f"scan-{artifacts.label}", args=args)
    try:
        return bed.query(client, "scan", place_of(vdt.table(f"t{artifacts.label.lower()}")), vdt)
    finally:
        vdt.stop(seconds=10)


def round_of(bed: Bed, artifacts: Artifacts, client: str, number: int) -> dict[str, dict]:
    """Each kind once: physical, virtual, virtual without a cache."""
    kinds = {
        "physical": lambda: bed.query(client, "scan", bed.physical(artifacts)),
        "virtual": lambda: cold(bed, artifacts, client),
        "uncached": lambda: cold(bed, artifacts, client, ["--no-cache"]),
    }
    found = {}
    for kind in list(kinds)[:: 1 if number % 2 else -1]:
        found[kind] = kinds[kind]()
        assert found[kind]["bytes"] == artifacts.bytes, (client, kind, found[kind])
    return found


def run(bed: Bed, size: str, runs: int, only: str | None = None):
    rows = []
    for artifacts in SIZES[size]:
        if only and artifacts.label != only:
            continue
        bed.fill(artifacts)
        bed.physical(artifacts)
        rate = gets_a_second(bed, artifacts)
        for client in CLIENTS:
            round_of(bed, artifacts, client, 0)  # warms the service's and the kernel's caches
            rounds = [round_of(bed, artifacts, client, number) for number in range(1, runs + 1)]
            rows.append([artifacts.label, artifacts.count, client, *_row(artifacts, rounds, rate)])
            say(" ".join(str(c) for c in rows[-1]))
    head = ["artifacts", "count", "client", "physical", "virtual", "physical / virtual (range)", "the same, no cache"]
    cpus = ["CPU s, physical: client + SeaweedFS", "virtual: client + SeaweedFS + vdt", "cores busy"]
    table(f"Cold full scan, {runs} rounds", [*head, "ceiling by curl's GETs/s", *cpus], rows)


def _row(artifacts: Artifacts, rounds: list[dict], rate: float | None) -> list[str]:
    def seconds(kind: str) -> float:
        return median(r[kind]["seconds"] for r in rounds)

    def ratio(kind: str) -> str:
        ratios = [r["physical"]["seconds"] / r[kind]["seconds"] for r in rounds]
        return f"**{median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})"

    def cpus(kind: str) -> dict[str, float]:
        return {name: median(r[kind]["cpus"][name] for r in rounds) for name in rounds[0][kind]["cpus"]}

    ceiling = "-"
    if rate:
        least = artifacts.count / rate
        ceiling = f"{min(seconds('physical') / least, 1):.2f} ({rate:,.0f})"
    busy = median(sum(r["virtual"]["cpus"].values()) / r["virtual"]["seconds"] for r in rounds)
    return [
        f"{seconds('physical'):.2f} s",
        f"{seconds('virtual'):.2f} s",
        ratio("virtual"),
        ratio("uncached"),
        ceiling,
        cpu(cpus("physical")),
        cpu(cpus("virtual")),
        f"{busy:.2f}",
    ]


if __name__ == "__main__":
    options = arguments(only=True)
    with Bed() as bed:
        run(bed, options.size, options.runs, options.only)
