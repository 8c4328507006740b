"""Warm lookups of one artifact over loopback HTTP, open loop; what a cold lookup and its repeat cost at the origin; and how well the
cache keeps what lookups need while somebody scans everything."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from lib.proxy import CountingProxy
from lib.vdt import http

from .bed import Artifacts, Bed, arguments, megabytes, median, table
from .load import load
from .peers import artifact_ranges

DATA = Artifacts("100kB", 100_000, 2000)


def run(bed: Bed, runs: int):
    latency(bed, runs)
    origin(bed)
    scan_resistance(bed)


def latency(bed: Bed, runs: int):
    """At half of what the server can do with 16 connections."""
    vdt = bed.serve([DATA], name="lookups", args=["--cache-memory", "1Gi", "--cache-disk", "4Gi"])
    targets = artifact_ranges(vdt, DATA)
    load(bed.work, vdt.endpoint, targets, once=True)
    rows = []
    for number in range(runs):
        full = load(bed.work, vdt.endpoint, targets, connections=16, seconds=2)["requests_per_second"]
        half = load(bed.work, vdt.endpoint, targets, connections=64, rate=full / 2, seconds=5, seed=number + 2)
        rows.append((full, half["requests_per_second"], half["latency_us"]))
    row = [f"{median(r[0] for r in rows):,.0f}", f"{median(r[1] for r in rows):,.0f}"]
    row += [f"{median(r[2][q] for r in rows):,.0f}" for q in ("p50", "p99", "p999")]
    head = ["saturation, requests/s", "asked for, requests/s", "p50, us (aim 200)", "p99, us (aim 2,000)", "p99.9, us"]
    table(f"Warm lookup of an artifact of {DATA.size:,} B over HTTP, open loop", head, [row])
    vdt.stop()


def origin(bed: Bed):
    """A lookup of each of 50 artifacts far apart, and again."""
    rows = []
    with CountingProxy(bed.seaweed.host) as source:
        vdt = bed.serve([DATA], endpoint=source.endpoint, name="origin")
        targets = artifact_ranges(vdt, DATA)[7::40]
        source.take()
        for label in ("cold", "repeat"):
            load(bed.work, vdt.endpoint, targets, once=True)
            events = source.take()
            gets = [e for e in events if e.kind == "data"]
            size = sum(e.body_bytes for e in gets)
            most = max(Counter(e.path for e in gets).values(), default=0)
            rows.append([label, len(targets), len(gets), most, f"{size / (len(targets) * DATA.size):.3f}"])
        vdt.stop()
    head = ["", "lookups", "origin GETs", "most for one artifact", "origin bytes / artifact bytes"]
    table("Origin requests of lookups", head, rows)


def scan_resistance(bed: Bed):
    """Zipf lookups (exponent 1) through a cache of a tenth of the data in memory and a quarter on disk, without and with a full scan."""
    rows = []
    for label, scanning in [("lookups alone", False), ("with full scans", True)]:
        args = ["--cache-memory", "20Mi", "--cache-disk", "50Mi"]
        vdt = bed.serve([DATA], name="zipf", args=args)
        targets = artifact_ranges(vdt, DATA)
        files = sorted({path for path, _, _ in targets})
        hot = sorted(targets, key=lambda t: hash((t[1] * 2654435761) % 2**32))
        options = {"zipf": 1.0, "connections": 4, "rate": 300}
        load(bed.work, vdt.endpoint, hot, seconds=15, **options)
        before = source_gets(vdt)
        with ThreadPoolExecutor(1) as pool:
            scan = pool.submit(_scan, vdt, files) if scanning else None
            found = load(bed.work, vdt.endpoint, hot, seconds=10, warmup=0, seed=2, **options)
            scanned = scan.result() if scan else 0
        misses = source_gets(vdt) - before - scanned
        hit = 1 - max(0, misses) / found["requests"]
        rows.append([label, found["requests"], scanned, f"{hit:.3f}"])
        vdt.stop()
    rows.append(["ratio (aim 0.9)", "", "", f"{float(rows[1][3]) / float(rows[0][3]):.2f}"])
    table("Hit ratio of Zipf lookups", ["", "lookups", "artifacts scanned", "hit ratio, at least"], rows)


def _scan(vdt, files: list[str]) -> int:
    """Reads every file once; the artifacts that the scan read. Those the cache held were not read from the origin, so the hit ratio of
    the lookups is at least what is computed."""
    for path in files:
        assert http("GET", vdt.endpoint + path, seconds=300)[0] == 200
    return DATA.count


def source_gets(vdt) -> int:
    status, text = vdt.admin("GET", "/metrics")
    assert status == 200
    lines = [line.split() for line in text.decode().splitlines() if line.startswith("vdt_source_requests")]
    return int(float(lines[0][1]))


def cache(vdt) -> dict:
    status, body = vdt.admin("GET", "/api/v1/cache")
    assert status == 200, (status, body)
    return json.loads(body)


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.runs)


__all__ = ["cache", "megabytes", "run"]
