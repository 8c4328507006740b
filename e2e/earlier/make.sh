#!/usr/bin/env bash
# Makes a fixture of the objects that a version leaves in a cluster: its chart, and a folder named after the commit with what its operator made of
# tables.yaml. The version is checked out and built beside this checkout; the control plane is that of e2e/operator, as it is here.
# Usage: e2e/earlier/make.sh [COMMIT]     HEAD unless named; VDT_OPERATOR names its operator where that is built already
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
commit=$(git -C "$root" rev-parse --short=7 "${1:-HEAD}^{commit}")
version=$root/target/earlier
trap 'git -C "$root" worktree remove --force "$version/tree"' EXIT
rm -rf "$version/tree"
git -C "$root" worktree add --force --detach "$version/tree" "$commit"

if [ -z "${VDT_OPERATOR:-}" ]; then
    # Not where this checkout is built: cargo takes crates of two checkouts for the same ones.
    (cd "$version/tree" && CARGO_TARGET_DIR=$version/target cargo build --locked --bin vdt-operator)
    export VDT_OPERATOR=$version/target/debug/vdt-operator
fi

fixture=$here/$commit
rm -rf "$fixture"
mkdir "$fixture"
cp -r "$version/tree/charts/vdt" "$fixture/chart"
# What makes no object unless it is asked for.
rm -r "$fixture/chart/"{README.md,files/dashboards,files/rules}

KUBERNETES_BIN=$("$here/../cluster/binaries.sh" | tail -n 1)
python=$("$here/../setup.sh" all | tail -n 1)
export KUBERNETES_BIN VDT_CHART=$fixture/chart
export PYTHONPATH=$root/e2e/operator:$root/e2e/cluster:$root/e2e
"$python" "$here/make.py" "$commit"
echo "$fixture"
