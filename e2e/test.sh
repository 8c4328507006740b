#!/usr/bin/env bash
# Runs the end-to-end tests with real clients against the newest vdt binary, or the one named in $VDT.
# Usage: e2e/test.sh [pytest arguments]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=$("$here/setup.sh" all | tail -n 1)
cd "$here"
if [ $# -eq 0 ]; then set -- clients robust crash pod page tools; fi
exec "$python" -m pytest "$@"
