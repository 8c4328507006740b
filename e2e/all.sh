#!/usr/bin/env bash
# All tests of the operator and the chart, three suites side by side, for most of their time is waiting: without nodes, and on two
# clusters of this machine. Each one's output is shown when it ends and kept in target/e2e/NAME.log. Where nothing failed but tests that are marked
# as contended (they assert a time of seconds) and at most two others (lib/contended.py), these are run once more without the other suites, and said;
# what fails then too fails all.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
kept=$root/target/e2e
mkdir -p "$kept"

# What all of them need is made once, before they begin.
e2e/setup.sh all >/dev/null
e2e/cluster/binaries.sh >/dev/null
E2E_IMAGES=$(e2e/cluster/images.sh | tail -n 1)
VDT_OPERATOR=${CARGO_TARGET_DIR:-$root/target}/debug/vdt-operator
KUBECTL_VT=${CARGO_TARGET_DIR:-$root/target}/debug/kubectl-vt
export E2E_IMAGES VDT_OPERATOR KUBECTL_VT

declare -A names=() commands=()
failed=() again=()

# begin NAME COMMAND ARGUMENTS...: in the background. It is interrupted, so that it cleans up, when this script ends first.
begin() {
    local name=$1
    commands[$name]=$2
    rm -f "$kept/$name/contended"
    # shellcheck disable=SC2086 # a command and its arguments
    set -- $2 "${@:3}"
    E2E_ARTIFACTS=$kept/$name env --default-signal=INT setpriv --pdeathsig INT "$@" >"$kept/$name.log" 2>&1 </dev/null &
    names[$!]=$name
    echo "e2e: $name began: $*"
}

finish() {
    trap '' INT TERM
    kill -INT "${!names[@]}" 2>/dev/null || true
    wait
    exit 1
}
trap finish INT TERM

begin operator e2e/operator/test.sh
if [ -n "${E2E_KUBECONFIG:-}" ]; then
    # Somebody's cluster: two operators in it would serve the same tables.
    begin cluster e2e/cluster/test.sh cluster/tests
else
    # About half of the time each; what is new lies in the other.
    half=(cluster/tests/test_{faults,reading,manifests,plugin}.py)
    begin cluster-1 "env E2E_CLUSTER_NUMBER=1 e2e/cluster/test.sh" "${half[@]}"
    begin cluster-0 e2e/cluster/test.sh cluster/tests "${half[@]/#/--ignore=}"
fi

# Not by `wait -n`: it forgets those that end at the same moment.
while [ ${#names[@]} -gt 0 ]; do
    for pid in "${!names[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then continue; fi
        code=0
        wait "$pid" || code=$?
        name=${names[$pid]}
        unset "names[$pid]"
        printf '\n===== %s: exit %s after %s s =====\n' "$name" "$code" "$SECONDS"
        cat "$kept/$name.log"
        [ "$code" = 0 ] || failed+=("$name")
    done
    sleep 1
done
for name in "${failed[@]}"; do
    if [ ! -e "$kept/$name/contended" ]; then
        again+=("$name")
        continue
    fi
    mapfile -t tests <"$kept/$name/contended"
    printf '\n===== %s: contended, now by itself: %s =====\n' "$name" "${tests[*]}"
    # shellcheck disable=SC2086 # a command and its arguments
    E2E_ARTIFACTS=$kept/$name-again ${commands[$name]} "${tests[@]}" 2>&1 | tee -a "$kept/$name.log" || again+=("$name")
done
failed=("${again[@]}")
if [ ${#failed[@]} -gt 0 ]; then
    # Once more at the end: whoever sees but the last lines of a run sees why it failed.
    for name in "${failed[@]}"; do
        printf '\n===== %s: why =====\n' "$name"
        grep -E '^(E  |FAILED|ERROR)' "$kept/$name.log" | tail -n 40 | cut -c -400 || true
    done
    echo "e2e: failed: ${failed[*]} (logs and what explains them: $kept)"
    exit 1
fi
echo "e2e: all passed in $SECONDS s"
