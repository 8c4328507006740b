#!/usr/bin/env bash
# Runs the tests of this folder on a Kubernetes of their own, or on the one of E2E_KUBECONFIG.
# Usage: e2e/cluster/test.sh [pytest arguments]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${E2E_KUBECONFIG:-}" ] && [ "$(id -u)" != 0 ]; then
    if [ "${CI:-}" = true ]; then
        echo "cluster: needs root, and CI=true needs the cluster"
        exit 1
    fi
    echo "cluster: skipped, needs root for namespaces and cgroups (or E2E_KUBECONFIG)"
    exit 0
fi
"$here/binaries.sh" >/dev/null
python=$("$here/../setup.sh" all | tail -n 1)
cd "$here/.."
if [ $# -eq 0 ]; then set -- cluster/tests; fi
export VDT=${VDT:-${CARGO_TARGET_DIR:-$here/../../target}/debug/vdt}
export E2E_ARTIFACTS=${E2E_ARTIFACTS:-$here/../../target/e2e}

if [ -z "${E2E_KUBECONFIG:-}" ] && [ -z "${E2E_IMAGES:-}" ]; then
    E2E_IMAGES=$("$here/images.sh" | tail -n 1)
    export E2E_IMAGES
fi
exec "$python" -m pytest "$@"
