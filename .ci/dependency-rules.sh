#!/usr/bin/env bash
# Checks what each crate may depend on: the rules that keep the parts apart (ARCHITECTURE.md, "Crates"). Each crate is looked at
# alone, with the features it turns on itself, without development dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0

tree() { # CRATE [cargo tree options]: the names of what it is built with
    local crate=$1
    shift
    cargo tree --locked -p "$crate" -e normal --prefix none --format '{p}' "$@" | cut -d' ' -f1 | sort -u | grep -vxF "$crate"
}

must_not_use() { # CRATE FORBIDDEN... [-- cargo tree options]
    local crate=$1 forbidden=() found
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do forbidden+=("$1") && shift; done
    [ $# -gt 0 ] && shift
    # Before grep looks: a failing cargo must not pass for an empty tree.
    local names
    names=$(tree "$crate" "$@") || true
    if [ -z "$names" ]; then
        echo "dependency-rules: nothing is known about $crate" >&2
        failed=1
        return
    fi
    found=$(grep -xE "$(IFS='|' && echo "${forbidden[*]}")" <<<"$names" || true)
    if [ -n "$found" ]; then
        echo "dependency-rules: $crate${*:+ ($*)} must not use:" $found >&2
        failed=1
    fi
}

# Ropes are pure; their store adds object_store and nothing above it.
must_not_use vdt-rope 'parquet' 'axum' 'kube.*' 'deltalake.*' 'vdt-.*' 'tokio' 'object_store' -- --no-default-features
must_not_use vdt-rope 'parquet' 'axum' 'kube.*' 'deltalake.*' 'vdt-.*' -- --features store
# Layout is pure and synchronous: same input, same bytes. No cargo tree shows the clocks of std and of jiff: clippy.toml of the crate has those.
must_not_use vdt-table 'tokio' 'axum' 'kube.*' 'reqwest' 'object_store' 'deltalake.*' 'vdt-(store|dialect|crds)'
must_not_use vdt-table 'rand.*' 'fastrand' 'getrandom' 'ahash' 'uuid' 'chrono' 'time' 'iana-time-zone'
# The store knows no protocol and no cluster. (crds' derive is kube-core: types without a client.)
must_not_use vdt-store 'axum' 's3s' 'kube-client' 'kube-runtime' 'vdt-dialect'
# Protocols serve any ObjectStore: they know neither tables nor ropes.
must_not_use vdt-dialect 'vdt-.*' 'kube.*' 'parquet' 'deltalake.*'
# The sidecar knows neither tables nor sources.
must_not_use vdt-sidecar 'kube-client' 'kube-runtime' 'parquet' 'deltalake.*' 'vdt-(table|store)'
# The operator knows the resource and a cluster, not what pods do inside.
must_not_use vdt-operator 'vdt-(store|dialect|sidecar|table|rope)' 'vdt' 'parquet' 'deltalake.*' 'object_store'
# The plug-in knows what the operator knows.
must_not_use kubectl-vt 'vdt-(store|dialect|sidecar|table|rope)' 'vdt' 'parquet' 'deltalake.*' 'object_store'
# The resource is a type and its rules.
must_not_use vdt-crds 'kube-client' 'kube-runtime' 'tokio' 'axum' 'object_store' 'vdt-.*'
# One machine needs no cluster.
must_not_use vdt 'kube-client' 'kube-runtime'

[ "$failed" = 0 ] && echo "dependency-rules: ok"
exit "$failed"
