"""State written for a table, against the bytes of its artifacts; and that no artifact byte is read for it."""

from lib.proxy import CountingProxy

from .bed import SIZES, Bed, arguments, table

AIMS = {"100kB": 0.2, "1MB": 0.02}


def run(bed: Bed, size: str):
    rows = []
    for artifacts in SIZES[size]:
        if artifacts.label not in AIMS:
            continue
        bed.fill(artifacts)
        with CountingProxy(bed.seaweed.host) as source:
            # A laptop's cache lies in the state's folder, and is no state.
            vdt = bed.serve([artifacts], endpoint=source.endpoint, name=f"state-{artifacts.label}", args=["--no-cache"])
            exchanges = source.take()
            vdt.stop()
        files = [p for p in vdt.state.rglob("*") if p.is_file()]
        total = sum(p.stat().st_size for p in files)
        read = sum(e.body_bytes for e in exchanges if e.kind == "data")
        gets = sum(1 for e in exchanges if e.kind in ("data", "head"))
        ropes = sum(p.stat().st_size for p in files if p.suffix == ".rope")
        rows.append(
            [
                artifacts.label,
                artifacts.count,
                f"{total:,}",
                f"{total / artifacts.count:.0f}",
                f"{ropes:,}",
                f"**{total / artifacts.bytes * 100:.4f} %**",
                f"{AIMS[artifacts.label]} %",
                f"{gets}, {read} B",
            ]
        )
    table(
        "State written for a table",
        [
            "artifacts",
            "count",
            "state bytes",
            "bytes an artifact",
            "of it ropes",
            "state / artifact bytes",
            "aim",
            "artifact requests, bytes",
        ],
        rows,
    )


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.size)
