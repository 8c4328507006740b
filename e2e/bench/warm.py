"""Warm full scans by real clients against a physical Delta table of the same rows on SeaweedFS, at no and at 25 ms of extra latency
to the bucket. The virtual table is read through vdt's cache, filled by one scan before; the line to the bucket is the same for both.
The same rows in a folder, without any server, tell what of it is the client's own work: nothing served can be read faster."""

from lib.clients import place_of

from .bed import SIZES, Bed, arguments, cpu, median, once, say, table
from .load import Delay

CLIENTS = ["delta-rs dataset", "delta-rs query", "DuckDB", "Polars"]
AIMS = {0: 1, 25: 3}


def run(bed: Bed, size: str, runs: int):
    rows = []
    for ms in AIMS:
        for artifacts in [a for a in SIZES[size] if a.label in ("100kB", "1MB")]:
            physical, local = bed.physical(artifacts), bed.local(artifacts)
            with Delay(bed.work, bed.seaweed.host, ms) as line:
                endpoint = line.endpoint if ms else bed.seaweed.endpoint
                args = ["--cache-memory", "256Mi", "--cache-disk", "4Gi"]
                vdt = bed.serve([artifacts], endpoint=endpoint, name=f"warm-{artifacts.label}", args=args)
                virtual = place_of(vdt.table(f"t{artifacts.label.lower()}"))
                kinds = {"physical": physical.through(endpoint), "virtual": virtual, "local": local}
                once(CLIENTS[0], "scan", virtual)
                for client in CLIENTS:
                    rounds = []
                    for number in range(runs):
                        found = {}
                        for kind in list(kinds)[:: 1 if number % 2 else -1]:
                            found[kind] = bed.query(client, "scan", kinds[kind], vdt)
                            assert found[kind]["bytes"] == artifacts.bytes
                        rounds.append(found)
                    rows.append([f"{ms} ms", artifacts.label, client, *_row(rounds, AIMS[ms])])
                    say(" ".join(str(c) for c in rows[-1]))
                vdt.stop()
    head = ["latency", "artifacts", "client", "physical on SeaweedFS", "virtual, warm", "local folder", "physical / virtual (range)"]
    table("Warm full scan", [*head, "physical / local", "aim", "CPU s, virtual: client + SeaweedFS + vdt"], rows)


def _row(rounds: list[dict], aim: int) -> list:
    def seconds(kind: str) -> str:
        return f"{median(r[kind]['seconds'] for r in rounds):.2f} s"

    def ratios(kind: str) -> list[float]:
        return [r["physical"]["seconds"] / r[kind]["seconds"] for r in rounds]

    found, cpus = ratios("virtual"), rounds[0]["virtual"]["cpus"]
    return [
        *(seconds(kind) for kind in ("physical", "virtual", "local")),
        f"**{median(found):.2f}** ({min(found):.2f}-{max(found):.2f})",
        f"{median(ratios('local')):.2f}",
        aim,
        cpu({name: median(r["virtual"]["cpus"][name] for r in rounds) for name in cpus}),
    ]


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.size, options.runs)
