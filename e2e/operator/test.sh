#!/usr/bin/env bash
# Runs the operator's tests against a real API server without nodes. VDT_OPERATOR and KUBECTL_VT name the binaries.
# Usage: e2e/operator/test.sh [pytest arguments]
#        e2e/operator/test.sh --thousand [TABLES] [SECRETS]     measures instead (thousand.py)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$("$here/../cluster/binaries.sh" | tail -n 1)
python=$("$here/../setup.sh" all | tail -n 1)
if [ -z "${VDT_OPERATOR:-}" ]; then
    (cd "$root" && cargo build --locked -q --bin vdt-operator)
    VDT_OPERATOR=${CARGO_TARGET_DIR:-$root/target}/debug/vdt-operator
fi
if [ -z "${KUBECTL_VT:-}" ]; then
    (cd "$root" && cargo build --locked -q -p kubectl-vt)
    KUBECTL_VT=${CARGO_TARGET_DIR:-$root/target}/debug/kubectl-vt
fi
export VDT_OPERATOR KUBECTL_VT KUBERNETES_BIN=$bin
export E2E_ARTIFACTS=${E2E_ARTIFACTS:-$root/target/e2e/operator}
cd "$here"
if [ "${1:-}" = --thousand ]; then
    shift
    export PYTHONPATH=$here/../cluster:$here/..
    exec "$python" thousand.py "$@"
fi
exec "$python" -m pytest -c pytest.ini "$@"
