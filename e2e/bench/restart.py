"""A cache that is full: memory while 256 connections stream, and the time from the start of the process to the first byte of an
artifact, after a clean stop and after kill -9, with a million entries on disk.

The entries are written by `vdt-tiers`, 5 kB each: as packs of tiny artifacts have, and more of them than there is time to ask for.
"""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from lib.vdt import Vdt, binary, http

from .bed import Artifacts, Bed, arguments, median, say, table
from .load import load
from .peers import artifact_ranges

ENTRIES, ENTRY_BYTES = 1_000_000, 5_000
MEMORY_MIB, DISK_MIB = 1024, 16 * 1024
DATA = Artifacts("fill", 32 << 20, 40)  # more than memory holds
CONNECTIONS = 256


def fill(bed: Bed):
    """Writes the entries to the cache's folder."""
    say(f"writing {ENTRIES:,} entries")
    step = f"fill:{ENTRIES}:{ENTRY_BYTES}"
    argv = [binary().with_name("vdt-tiers"), bed.work / "cache", MEMORY_MIB, DISK_MIB, step]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=600, check=True)
    say(done.stdout.strip().replace("\n", "; "))


def first_byte(vdt: Vdt, path: str, first: int) -> float:
    """Seconds from the start of the process to the first byte of an artifact."""
    began = time.perf_counter()
    vdt.start()
    status, _, body = http("GET", vdt.endpoint + path, {"Range": f"bytes={first}-{first}"})
    assert (status, len(body)) == (206, 1), status
    return time.perf_counter() - began


def streaming(bed: Bed, vdt: Vdt, targets) -> tuple[int, int, dict]:
    """Memory before and its peak while all connections stream ranges of 1 MiB."""
    before = peak = vdt.process.rss_bytes()
    options = {"range": 1 << 20, "connections": CONNECTIONS, "seconds": 15}
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(load, bed.work, vdt.endpoint, targets, **options)
        while not work.done():
            peak = max(peak, vdt.process.rss_bytes())
            time.sleep(0.02)
    return before, peak, work.result()


def run(bed: Bed, runs: int):
    fill(bed)
    args = ["--cache-memory", f"{MEMORY_MIB}Mi", "--cache-disk", f"{DISK_MIB}Mi", "--cache-dir", bed.work / "cache"]
    vdt = bed.serve([DATA], name="restart", args=args)
    targets = artifact_ranges(vdt, DATA)
    held = vdt.cache()["tiers"]["disk"]["entries"]
    before, peak, found = streaming(bed, vdt, targets)
    times = {"clean": [], "kill -9": []}
    for _ in range(runs):
        for how in times:
            if how == "clean":
                assert vdt.stop() == 0
            else:
                vdt.kill()
            times[how].append(first_byte(vdt, *targets[0][:2]))
    mib = 1024 * 1024
    row = [f"{held:,}", f"{before / mib:.0f} MiB", f"**{peak / mib:.0f} MiB**", f"{found['bytes'] / found['seconds'] / 1e6:.0f} MB/s"]
    row += [f"**{median(seconds):.2f} s** (most {max(seconds):.2f})" for seconds in times.values()]
    head = ["entries on disk", "memory at rest", f"peak, {CONNECTIONS} connections (aim 1.3 GiB)", "rate"]
    head += ["first byte after a clean stop (aim 2 s)", "after kill -9 (aim 2 s)"]
    table(f"A full cache: {MEMORY_MIB} MiB of memory, {ENTRIES:,} entries of {ENTRY_BYTES:,} B on disk", head, [row])
    vdt.stop()


if __name__ == "__main__":
    options = arguments()
    with Bed() as bed:
        run(bed, options.runs)
