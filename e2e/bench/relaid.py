"""Hit ratio of lookups before and after a refresh that laid half of the data files anew: one artifact of each of those changed, the
others are what they were. The cache knows artifacts, not files: what is missed afterwards should be the changed artifacts and no more. The
bucket is asked for more than is missed where lookups in a file that is new look like a scan for a moment, and are read ahead of."""

import hashlib
import json
from pathlib import Path

from lib.proxy import CountingProxy
from lib.vdt import run as vdt_run

from .bed import BUCKET, Artifacts, Bed, arguments, say, table
from .load import load

DATA = Artifacts("relaid", 100_000, 2000)
FILE_BYTES = 32 << 20  # some 7 data files, of as many artifacts as keep lookups from looking like scans
# What the cache holds, its options, and seconds of lookups that fill it, many times what it holds, for a cache that is not full yet misses
# nothing twice; without those each artifact is asked for once.
CACHES = [
    ("all", ["--cache-memory", "512Mi", "--cache-disk", "1Gi"], 0),
    ("a third in memory, a third on disk", ["--cache-memory", "64Mi", "--cache-disk", "64Mi"], 15),
]
LOOKUPS = {"zipf": 1.0, "connections": 4, "rate": 200, "warmup": 0}


def run(bed: Bed):
    rows = []
    for number, (held, args, warmup) in enumerate(CACHES, 1):
        with CountingProxy(bed.seaweed.host) as source:
            layout = {"fileTargetBytes": str(FILE_BYTES)}
            vdt = bed.serve([DATA], endpoint=source.endpoint, name="relaid", args=args, layout=layout)
            before = files(vdt)
            if warmup:
                load(bed.work, vdt.endpoint, targets(before), seconds=warmup, **LOOKUPS | {"rate": 1000})
            else:
                load(bed.work, vdt.endpoint, targets(before), once=True)
            source.take()
            first = lookups(bed, vdt, source, before, seed=2)
            # Once more without a refresh: what differs here is the cache's own drift, not the refresh's doing.
            again = lookups(bed, vdt, source, before, seed=4)
            changed = change(bed, before, number)
            vdt.refresh()
            after = files(vdt)
            anew = len(after.keys() - before.keys())
            assert (anew, len(after)) == (len(changed), len(before)), (anew, len(changed), len(after), len(before))
            # What the refresh itself asks for is no lookup's.
            source.take()
            second = lookups(bed, vdt, source, after, seed=3)
            vdt.stop()
        ratio = f"**{second[1] / again[1]:.3f}**" if again[1] else "-"
        rows.append(
            [held, f"{anew} of {len(after)}", f"{len(changed)} of {DATA.count}", first[0]]
            + [f"{first[1]:.3f}", f"{again[1]:.3f}", f"{second[1]:.3f}", ratio, f"{again[2]}, {second[2]}"]
        )
    head = ["the cache holds", "files laid anew", "artifacts changed", "lookups", "hit ratio before", "again", "after", "after / again", "GETs, again and after"]
    table("Hit ratio of Zipf lookups before and after half of the files were laid anew", head, rows)


def lookups(bed: Bed, vdt, source: CountingProxy, laid: dict, seed: int) -> tuple[int, float, int]:
    """Ten seconds of lookups: how many, which part of them the cache had, and what the bucket was asked for, read-ahead included."""
    before = vdt.cache()["misses"]
    found = load(bed.work, vdt.endpoint, targets(laid), seconds=10, seed=seed, **LOOKUPS)
    gets = sum(e.kind == "data" and f"/{DATA.label}/" in e.path for e in source.take())
    return found["requests"], 1 - (vdt.cache()["misses"] - before) / found["requests"], gets


def change(bed: Bed, laid: dict, number: int) -> list[str]:
    """Writes an artifact in the middle of every other file anew: the keys of those."""
    client = bed.seaweed.client()
    changed = [artifacts[len(artifacts) // 2][0] for _, artifacts in list(laid.items())[::2]]
    say(f"changing {len(changed)} artifacts")
    for key in changed:
        other = Artifacts(f"{DATA.label} {number}", DATA.size, DATA.count)
        body = other.body(int(key.rsplit("-", 1)[1].removesuffix(".pdf")))
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
    return changed


def targets(laid: dict) -> list[tuple[str, int, int]]:
    """Ranges of all artifacts, the popular ones first: the same artifacts however they are laid, and wherever in the table they lie."""
    ranges = [(key, (path, start, end)) for path, found in laid.items() for key, start, end in found]
    assert len(ranges) == DATA.count
    ranges.sort(key=lambda r: hashlib.sha256(r[0].encode()).digest())
    return [found for _, found in ranges]


def files(vdt) -> dict[str, list[tuple[str, int, int]]]:
    """The newest version's files by their HTTP paths, each with its artifacts: key, first byte, byte after the last."""
    of = vdt.table(f"t{DATA.label}")
    name = f"{of.catalog}/{of.schema}/{of.name}"
    inspect = lambda *args: json.loads(  # noqa: E731
        vdt_run("inspect", "--state", vdt.state, name, *args, "--output", "json").stdout
    )
    laid = {}
    for file in sorted(f["path"] for f in inspect()["files"]):
        pieces = [p for p in inspect("--file", Path(file).name) if p["kind"] == "reference"]
        laid[f"/v1/{name}/{file}"] = [(p["key"], p["start"], p["start"] + p["bytes"]) for p in pieces]
    return laid


if __name__ == "__main__":
    arguments()
    with Bed() as bed:
        run(bed)
