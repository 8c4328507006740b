#!/usr/bin/env bash
# Builds what the tests of the operator run, for development, and images of it. Prints the folder of the images as its last line.
# They hold the binaries of the other tests, with the libraries they need: what ships is built by `make images`, minutes later.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
cargo build --locked --bin vdt --bin vdt-sidecar --bin vdt-operator --bin kubectl-vt
image/build.py --binaries "${CARGO_TARGET_DIR:-$root/target}/debug" --with-libraries --prefix registry.local/ --out "$root/target/e2e-images"
echo "$root/target/e2e-images"
