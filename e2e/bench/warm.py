"""Warm full scans by real clients against a physical Delta table of the same rows on SeaweedFS, at no and at 25 ms of extra latency
to the bucket. The virtual table is read through vdt's cache, filled by one scan before; the line to the bucket is the same for both."""

from lib.clients import Place, place_of

from .bed import SIZES, Bed, arguments, median, once, table
from .load import Delay

CLIENTS = ["delta-rs dataset", "delta-rs query", "DuckDB", "Polars"]


def run(bed: Bed, size: str, runs: int):
    rows = []
    for ms in (0, 25):
        for artifacts in [a for a in SIZES[size] if a.label in ("100kB", "1MB")]:
            physical = bed.physical(artifacts)
            with Delay(bed.work, bed.seaweed.host, ms) as line:
                endpoint = line.endpoint if ms else bed.seaweed.endpoint
                args = ["--cache-memory", "256Mi", "--cache-disk", "4Gi"]
                vdt = bed.serve([artifacts], endpoint=endpoint, name=f"warm-{artifacts.label}", args=args)
                virtual = place_of(vdt.table(f"t{artifacts.label.lower()}"))
                far = Place(physical.uri, endpoint, physical.access_key, physical.secret_key)
                once(CLIENTS[0], "scan", virtual)
                for client in CLIENTS:
                    pairs = []
                    for number in range(runs):
                        times = {}
                        for kind, place in [("p", far), ("v", virtual)][:: 1 if number % 2 else -1]:
                            found = once(client, "scan", place)
                            assert found["bytes"] == artifacts.bytes
                            times[kind] = found["seconds"]
                        pairs.append(times)
                    p, v = median(t["p"] for t in pairs), median(t["v"] for t in pairs)
                    ratio = median(t["p"] / t["v"] for t in pairs)
                    rows.append([f"{ms} ms", artifacts.label, client, f"{p:.2f} s", f"{v:.2f} s", f"{ratio:.2f}"])
                vdt.stop()
    head = ["latency", "artifacts", "client", "physical on SeaweedFS", "virtual, warm", "physical / virtual"]
    table("Warm full scan (aim: 1 without latency, 3 with)", head, rows)


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.size, options.runs)
