#!/usr/bin/env bash
# Prints the numbers of docs/benchmarks.md as Markdown: the optimised vdt binary over SeaweedFS, read by real clients.
# Usage: e2e/bench/run.sh [--size small|large] [--runs N]
#        e2e/bench/run.sh pipeline                                  a million listing entries to a committed version
#        e2e/bench/run.sh tiers DIR MEMORY_MIB DISK_MIB STEP...     the cache's tiers alone; see e2e/bench/tiers
#        e2e/bench/run.sh requests|state|memory|scan|dropped|warm|rowgroup|versions|lookups|relaid|ranges|restart [options]      one of them alone
# $VDT_BENCH_DIR is where the data lie: up to 1 GB, 6 GB with --size large.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export VDT=${VDT:-${CARGO_TARGET_DIR:-$root/target}/release/vdt}

pipeline() {
    printf '\n### A million listing entries to a committed version of the table and its meta table\n\n```json\n'
    (cd "$root" && cargo run --quiet --locked --release --bin vdt-pipeline -- 1000000)
    printf '```\n'
}

module=bench
case ${1:-} in
pipeline)
    pipeline
    exit
    ;;
tiers)
    shift
    cd "$root"
    exec cargo run --quiet --locked --release --bin vdt-tiers -- "$@"
    ;;
requests | state | memory | scan | dropped | warm | rowgroup | versions | lookups | relaid | ranges | restart)
    module=bench.$1
    shift
    ;;
*) pipeline ;;
esac
if [ ! -x "$VDT" ]; then
    echo "bench: $VDT is missing: make release" >&2
    exit 1
fi
python=$("$root/e2e/setup.sh" all | tail -n 1)
cd "$root/e2e"
exec "$python" -m "$module" "$@"
