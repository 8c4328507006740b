#!/usr/bin/env bash
# Tests the chart without a cluster: generated files are current, lint is clean, each file of tests/values renders to its
# golden, each of tests/refused is refused with the sentence in its first line; the commands of NOTES.txt can be pasted.
# Usage: charts/test.sh [--bless]     --bless writes the goldens
set -euo pipefail

cd "$(dirname "$0")/.."
helm=${HELM:-$(e2e/cluster/binaries.sh helm | tail -n 1)/helm}
python3 charts/generate.py --check

failed=0
passed=0
ok() { passed=$((passed + 1)); }
bad() {
    echo "charts: $*"
    failed=$((failed + 1))
}

for values in charts/tests/values/*.yaml; do
    name=$(basename "$values" .yaml)
    golden=charts/tests/golden/$name.yaml
    if ! out=$("$helm" lint --strict --quiet charts/vdt --values "$values" 2>&1); then bad "lint with $name: $out"; else ok; fi
    # The definitions have goldens of their own in crds/: here only that they are there.
    rendered=$("$helm" template vdt charts/vdt --namespace vdt-system --values "$values" 2>&1 |
        awk '/^---$/ {if (part !~ /kind: CustomResourceDefinition/) printf "%s", part; part = ""} {part = part $0 "\n"} END {if (part !~ /kind: CustomResourceDefinition/) printf "%s", part}')
    if [ "${1:-}" = --bless ]; then
        printf '%s\n' "$rendered" >"$golden"
    elif ! diff -u "$golden" <(printf '%s\n' "$rendered"); then
        bad "$name does not render to $golden (charts/test.sh --bless, then read the diff)"
    else
        ok
    fi
    # What is to be pasted ends where it should: a here-document whose end is indented swallows what follows, and bash only warns of it.
    notes=$("$helm" install vdt charts/vdt --namespace vdt-system --dry-run=client --values "$values" 2>&1)
    commands=$(awk '/^NOTES:$/ {notes = 1} notes && /^ *kubectl /, /^$/' <<<"$notes")
    if ! grep -q '^kind: VirtualTable$' <<<"$commands"; then
        bad "the notes with $name hold no manifest to paste: $notes"
    elif ! said=$(bash -n <<<"$commands" 2>&1) || [ -n "$said" ]; then
        bad "the notes with $name are no commands: $said"
    else
        ok
    fi
done

for values in charts/tests/refused/*.yaml; do
    name=$(basename "$values" .yaml)
    sentence=$(sed -n '1s/^# //p' "$values")
    if out=$("$helm" template vdt charts/vdt --namespace vdt-system --values "$values" 2>&1); then
        bad "$name is accepted"
    elif ! grep -qF -- "$sentence" <<<"$out"; then
        bad "$name is refused, but not with \"$sentence\": $out"
    else
        ok
    fi
done

echo "charts: $passed passed, $failed failed"
[ "$failed" = 0 ]
