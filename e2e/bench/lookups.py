"""Warm lookups of one artifact over loopback HTTP, open loop; what a cold lookup and its repeat cost at the origin; and how well the
cache keeps what lookups need while somebody scans everything."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from lib.proxy import CountingProxy
from lib.vdt import http

from .bed import Artifacts, Bed, arguments, core, median, table
from .load import load
from .peers import artifact_ranges, drawn

DATA = Artifacts("100kB", 100_000, 2000)
SCANNED = Artifacts("1MB", 1_000_000, 300)


def run(bed: Bed, runs: int):
    latency(bed, runs)
    origin(bed)
    scan_resistance(bed)


def latency(bed: Bed, runs: int):
    """At half of what the server can do with 16 connections: where it shares the machine's cores with the generator, which looks at the
    clock without a pause, and where each has a core of its own."""
    rows = []
    for label, server, generator in [("shared", None, None), ("one each", 0, 1)]:
        args = ["--cache-memory", "1Gi", "--cache-disk", "4Gi"]
        with core(server):
            vdt = bed.serve([DATA], name="lookups", args=args)
        targets = artifact_ranges(vdt, DATA)
        load(bed.work, vdt.endpoint, targets, once=True)
        found = []
        for number in range(runs):
            with core(generator):
                full = load(bed.work, vdt.endpoint, targets, connections=16, seconds=2)["requests_per_second"]
                options = {"connections": 64, "rate": full / 2, "seconds": 5, "seed": number + 2}
                half = load(bed.work, vdt.endpoint, targets, **options)
            found.append((full, half["requests_per_second"], half["latency_us"]))
        vdt.stop()
        row = [label, f"{median(f[0] for f in found):,.0f}", f"{median(f[1] for f in found):,.0f}"]
        rows.append(row + [f"{median(f[2][q] for f in found):,.0f}" for q in ("p50", "p99", "p999")])
    head = ["cores", "saturation, requests/s", "asked for, requests/s", "p50, us (aim 200)", "p99, us (aim 2,000)", "p99.9, us"]
    table(f"Warm lookup of an artifact of {DATA.size:,} B over HTTP, open loop", head, rows)


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
    """Zipf lookups (exponent 1) through a cache of a third of their data in memory and a third on disk, without and with a full scan of
    another table, larger than the cache, beside them. Misses are what the bucket was asked for."""
    rows = []
    for label, scanning in [("lookups alone", False), ("with full scans", True)]:
        args = ["--cache-memory", "64Mi", "--cache-disk", "64Mi"]
        with CountingProxy(bed.seaweed.host) as source:
            vdt = bed.serve([DATA, SCANNED], endpoint=source.endpoint, name="zipf", args=args)
            files = [path for path, _ in drawn(vdt, SCANNED)]
            # Popularity has nothing to do with the place in the file.
            hot = sorted(artifact_ranges(vdt, DATA), key=lambda t: (t[1] * 2654435761) % 2**32)
            options = {"zipf": 1.0, "connections": 4, "rate": 200, "warmup": 0}
            load(bed.work, vdt.endpoint, hot, seconds=15, **options)
            source.take()
            with ThreadPoolExecutor(1) as pool:
                stop = Event()
                scan = pool.submit(_scan, vdt, files, stop) if scanning else None
                found = load(bed.work, vdt.endpoint, hot, seconds=10, seed=2, **options)
                stop.set()
                scanned = scan.result() if scan else 0
            missed = sum(e.kind == "data" and f"/{DATA.label}/" in e.path for e in source.take())
            rows.append([label, found["requests"], scanned, f"{1 - missed / found['requests']:.3f}"])
            vdt.stop()
    rows.append(["ratio (aim 0.9)", "", "", f"{float(rows[1][3]) / float(rows[0][3]):.2f}"])
    table("Hit ratio of Zipf lookups", ["", "lookups", "artifacts scanned beside them", "hit ratio"], rows)


def _scan(vdt, files: list[str], stop: Event) -> int:
    """Reads the table again and again; how many artifacts that were."""
    scanned = 0
    while not stop.is_set():
        for path in files:
            assert http("GET", vdt.endpoint + path, seconds=300)[0] == 200
        scanned += SCANNED.count
    return scanned


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.runs)

