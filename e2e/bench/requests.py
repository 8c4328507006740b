"""Requests of a client to open a table and look one artifact up, and what they cost at the source.

Two counting proxies: client -> proxy -> vdt -> proxy -> SeaweedFS. `clients/test_pushdown.py` holds them to the aims.
"""

import hashlib
from collections import Counter

from lib.clients import place_of
from lib.cost import LOOKUP_REQUESTS, Cost
from lib.proxy import CountingProxy

from .bed import LOOKUP, Bed, arguments, once, table


def run(bed: Bed):
    bed.fill(LOOKUP)
    name = LOOKUP.names()[11]
    expected = hashlib.sha256(LOOKUP.body(11)).hexdigest()
    rows = []
    with CountingProxy(bed.seaweed.host) as source:
        vdt = bed.serve([LOOKUP], endpoint=source.endpoint, name="requests", args=["--no-cache"])
        with CountingProxy(vdt.listen) as front:
            created = Cost.since(front, source)
            place = place_of(vdt.table("tlookup")).through(front.endpoint)
            for client, aim in LOOKUP_REQUESTS.items():
                found = once(client, "lookup", place, name)
                assert found["sha256"] == expected, client
                cost = Cost.since(front, source)
                gets = cost.artifact_gets
                rows.append(
                    [
                        client,
                        len(cost.asked),
                        "-".join(str(n) for n in sorted({aim[0], aim[-1]})),
                        counted(cost.by_kind),
                        f"{len(gets)} of {len({e.path for e in gets})} artifacts",
                        f"{cost.artifact_bytes:,}",
                        f"{cost.literal_bytes:,}",
                        len(cost.read) - len(gets),
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
    table(
        "While the table was created",
        ["source requests", "artifact GETs", "artifact bytes read"],
        [[counted(Counter(e.kind for e in created.read)), len(created.artifact_gets), created.artifact_bytes]],
    )


def counted(by_kind: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in by_kind.items())


if __name__ == "__main__":
    arguments()
    with Bed() as bed:
        run(bed)
