#!/usr/bin/env bash
# Builds vdt, serves the sample PDFs of this repository and queries them with DuckDB. Ends by itself.
# Usage: e2e/demo.sh     $VDT names a binary that is already built
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
python=$("$here/setup.sh" demo | tail -n 1)
if [ -z "${VDT:-}" ]; then
    echo '$ cargo build --bin vdt'
    cargo build --locked --bin vdt
    VDT=${CARGO_TARGET_DIR:-target}/debug/vdt
fi
exec "$python" -u "$here/demo.py" "$VDT"
