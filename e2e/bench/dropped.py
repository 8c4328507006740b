"""Writes that the cache gives up in a cold scan: what comes faster than the disk takes it, and is in memory no longer when its turn
comes. Whoever reads it next asks the bucket again. As `vdt serve` is by itself, and as in a pod: with the memory that a pod's cache has,
and in a control group whose memory is limited, where the cache writes past the page cache."""

import time

from lib.clients import place_of

from .bed import SIZES, Artifacts, Bed, arguments, memory_groups, memory_limit, say, table

CLIENTS = ["DuckDB", "Polars"]
PLACES = [("laptop", "256Mi", None), ("pod", "256Mi", 768 << 20), ("pod", "1Gi", 1536 << 20)]


def run(bed: Bed, size: str, runs: int):
    rows = []
    places = [place for place in PLACES if place[2] is None or memory_groups()]
    if len(places) < len(PLACES):
        say("memory cannot be limited here: nothing is measured as in a pod")
    for artifacts in [a for a in SIZES[size] if a.size >= 1_000_000]:
        for client in CLIENTS:
            for place, memory, limit in places:
                found = [scan(bed, artifacts, client, memory, limit) for _ in range(runs)]
                rate = artifacts.bytes / 1e6 / min(seconds for seconds, _, _ in found)
                written, dropped = (sum(f[i] for f in found) for i in (1, 2))
                row = [f"{artifacts.count} of {artifacts.label}", client, place, memory, f"{rate:.0f} MB/s", written, dropped]
                rows.append([*row, f"**{100 * dropped / (written + dropped):.2f} %**"])
                say(" ".join(str(c) for c in rows[-1]))
    head = ["artifacts", "client", "as in a", "cache memory", "fastest scan", "entries on disk", "dropped", "dropped (aim 1 %)"]
    table(f"Writes dropped in {runs} cold scans", head, rows)


def scan(bed: Bed, artifacts: Artifacts, client: str, memory: str, limit: int | None) -> tuple[float, int, int]:
    """Seconds of a cold scan, entries on disk once all is written, and writes dropped."""
    with memory_limit(limit):
        vdt = bed.serve([artifacts], name=f"dropped-{artifacts.label}", args=["--cache-memory", memory])
    try:
        found = bed.query(client, "scan", place_of(vdt.table(f"t{artifacts.label.lower()}")), vdt)
        before, disk = None, vdt.cache()["tiers"]["disk"]
        while disk != before:
            time.sleep(1)  # longer than the cache waits for a quiet moment
            before, disk = disk, vdt.cache()["tiers"]["disk"]
        return found["seconds"], disk["entries"], disk["droppedWrites"]
    finally:
        vdt.stop(seconds=10)


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.size, options.runs)
