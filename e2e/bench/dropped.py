"""Writes that the cache gives up in a cold scan: what comes faster than the disk takes it, and is in memory no longer when its turn
comes. Whoever reads it next asks the bucket again. With the default cache, and with one whose memory the scan does not fit."""

import time

from lib.clients import place_of

from .bed import SIZES, Artifacts, Bed, arguments, say, table

CLIENTS = ["DuckDB", "Polars"]
MEMORY = ["the default", "256Mi"]


def run(bed: Bed, size: str, runs: int):
    rows = []
    for artifacts in [a for a in SIZES[size] if a.size >= 1_000_000]:
        for client in CLIENTS:
            for memory in MEMORY:
                found = [scan(bed, artifacts, client, memory) for _ in range(runs)]
                rate = artifacts.bytes / 1e6 / min(seconds for seconds, _, _ in found)
                written, dropped = (sum(f[i] for f in found) for i in (1, 2))
                share = f"**{100 * dropped / (written + dropped):.2f} %**"
                rows.append([f"{artifacts.count} of {artifacts.label}", client, memory, f"{rate:.0f} MB/s", written, dropped, share])
                say(" ".join(str(c) for c in rows[-1]))
    head = ["artifacts", "client", "memory", "fastest scan", "entries on disk", "dropped", "dropped (aim 1 %)"]
    table(f"Writes dropped in {runs} cold scans", head, rows)


def scan(bed: Bed, artifacts: Artifacts, client: str, memory: str) -> tuple[float, int, int]:
    """Seconds of a cold scan, entries on disk once all is written, and writes dropped."""
    args = [] if memory == MEMORY[0] else ["--cache-memory", memory]
    vdt = bed.serve([artifacts], name=f"dropped-{artifacts.label}", args=args)
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
