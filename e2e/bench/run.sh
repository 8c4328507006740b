#!/usr/bin/env bash
# Prints the numbers of docs/benchmarks.md as Markdown tables: the vdt binary over SeaweedFS, read by real clients.
# Usage: e2e/bench/run.sh [--size small|large] [--runs N]
#        e2e/bench/run.sh requests|state|memory|scan [options]      one of them alone
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
python=$("$here/../setup.sh" all | tail -n 1)
module=bench
case ${1:-} in
requests | state | memory | scan)
    module=bench.$1
    shift
    ;;
esac
exec "$python" -m "$module" "$@"
