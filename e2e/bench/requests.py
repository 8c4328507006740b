"""Requests of a client to open a table and look one artifact up, and what they cost at the source.

Two counting proxies: client -> proxy -> vdt -> proxy -> SeaweedFS.
"""

import hashlib
from collections import Counter

from lib.clients import place_of
from lib.proxy import CountingProxy

from .bed import LOOKUP, Bed, arguments, once, table

AIMS = {"Polars": "6", "delta-rs dataset": "6", "delta-rs query": "10-11", "DuckDB": "8"}


def run(bed: Bed):
    bed.fill(LOOKUP)
    name = LOOKUP.names()[11]
    expected = hashlib.sha256(LOOKUP.body(11)).hexdigest()
    rows = []
    with CountingProxy(bed.seaweed.host) as source:
        vdt = bed.serve([LOOKUP], endpoint=source.endpoint, name="requests", args=["--no-cache"])
        created = source.take()
        created_kinds = Counter(e.kind for e in created)
        with CountingProxy(vdt.listen) as front:
            place = place_of(vdt.table("tlookup")).through(front.endpoint)
            for client, aim in AIMS.items():
                found = once(client, "lookup", place, name)
                assert found["sha256"] == expected, client
                asked, read = front.take(), source.take()
                kinds = Counter(e.kind for e in asked)
                gets = [e for e in read if e.kind == "data"]
                source_bytes = sum(e.body_bytes for e in gets)
                sent = sum(e.body_bytes for e in asked if e.kind == "data")
                rows.append(
                    [
                        client,
                        len(asked),
                        aim,
                        ", ".join(f"{n} {k}" for k, n in kinds.items()),
                        f"{len(gets)} of {len({e.path for e in gets})} artifacts",
                        f"{source_bytes:,}",
                        f"{max(0, sent - source_bytes):,}",
                        len(read) - len(gets),
                    ]
                )
    table(
        f"Open and look one artifact up ({LOOKUP.count} artifacts of {LOOKUP.size:,} B)",
        [
            "client",
            "requests",
            "aim",
            "by kind",
            "source GETs",
            "artifact bytes read",
            "literal bytes sent",
            "other source requests",
        ],
        rows,
    )
    data = sum(e.body_bytes for e in created if e.kind == "data")
    table(
        "While the table was created",
        ["source requests", "artifact GETs", "artifact bytes read"],
        [[", ".join(f"{n} {k}" for k, n in created_kinds.items()), created_kinds["data"], data]],
    )


if __name__ == "__main__":
    arguments()
    with Bed() as bed:
        run(bed)
