#!/usr/bin/env bash
# Lints what is rendered, offline: the chart with each file of tests/values, and, where VDT_OPERATOR names the binary, the
# children of every good example. kubernetes-validate knows each version's schemas; checkov the habits (checkov.yaml); relations.py whether objects fit
# each other, which is what of kube-linter's default checks the other two do not look at. And what is stored must stay readable: crdify compares the
# definition with an earlier one, tests/earlier. A break that is meant (a rule made stricter counts as one) is taken over by copying the definition of
# crds/ there in the commit that makes it, with a line in CHANGELOG.md.
set -euo pipefail

cd "$(dirname "$0")/.."
helm=${HELM:-$(e2e/cluster/binaries.sh helm | tail -n 1)/helm}
cache=${VDT_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vdt-e2e}
venv=$cache/venv-lint
stamp=$(sha256sum charts/requirements.txt | cut -c1-16)
if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "charts: linters into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -r charts/requirements.txt
    echo "$stamp" >"$venv/stamp"
fi

rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
for values in charts/tests/values/*.yaml; do
    # The monitoring objects' schemas belong to the Prometheus operator.
    "$helm" template vdt charts/vdt --namespace vdt-system --skip-tests --values "$values" --set crds.enabled=false \
        --set monitoring.podMonitor.enabled=false,monitoring.rules.enabled=false >"$rendered/chart-$(basename "$values")"
done
if [ -n "${VDT_OPERATOR:-}" ]; then
    for manifest in crds/examples/good/*.yaml; do
        "$VDT_OPERATOR" render "$manifest" >"$rendered/children-$(basename "$manifest")"
    done
fi
failed=0
# The goldens hold the objects of monitoring and the test, too.
"$venv/bin/python" charts/relations.py "$rendered"/*.yaml charts/tests/golden/*.yaml || failed=1
# The schemas of a Certificate and a PodMonitor belong to others; what lies beside them is linted on.
for file in "$rendered"/*.yaml; do
    awk 'function tell() {if (part !~ /\nkind: (Certificate|PodMonitor)\n/) printf "%s", part}
        /^---$/ {tell(); part = ""} {part = part $0 "\n"} END {tell()}' "$file" >"$file.kept"
    mv "$file.kept" "$file"
done
for version in 1.33 1.37; do
    "$venv/bin/kubernetes-validate" --strict --quiet --kubernetes-version $version "$rendered"/*.yaml || failed=1
done
"$venv/bin/checkov" --config-file charts/checkov.yaml --directory "$rendered" || failed=1
diff charts/tests/misfit.txt <("$venv/bin/python" charts/relations.py charts/tests/misfit.yaml) || failed=1
crdify=$(e2e/cluster/binaries.sh crdify | tail -n 1)/crdify
for earlier in charts/tests/earlier/*.yaml; do
    "$crdify" --config charts/crdify.yaml "file://$earlier" "file://crds/$(basename "$earlier")" || failed=1
done
echo "charts: linted $(find "$rendered" -name 'chart-*' | wc -l) renderings of the chart, children of $(find "$rendered" -name 'children-*' | wc -l) tables"
exit $failed
