"""The CustomResourceDefinition on a real API server: the same verdicts, with our sentences, that `vdt validate` gives."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from api import Unanswered
from kube import Kube, Refused

EXAMPLES = Path(__file__).resolve().parents[3] / "crds" / "examples"
CALLS_AT_ONCE = 4
FUZZED = 150


def expectation(file: Path) -> str:
    return file.read_text().splitlines()[0].removeprefix("# expect: ")


@pytest.fixture(scope="module")
def docs(cluster, definitions) -> Kube:
    """The namespace that the examples name."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "docs"}})
    yield cluster.within("docs")
    cluster("delete", "namespace", "docs", "--wait=false")


def verdicts(docs: Kube, files: list[Path]) -> dict[str, str]:
    """What `create` says of each file; empty when it is accepted. Nothing is stored."""

    def verdict(file: Path) -> str:
        try:
            warnings = docs.api.would_create(docs.namespace, "vt", file.read_text())
        except Unanswered as why:
            return str(why)
        # A warning is a defect of the definition, not a verdict on the manifest.
        assert warnings == [], f"{file.name}: {warnings}"
        return ""

    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        return dict(zip([f.name for f in files], pool.map(verdict, files), strict=True))


def test_a1_the_definition_is_established_without_a_complaint(cluster, definitions):
    live = cluster.get("crd", "virtualtables.vdt.io")
    conditions = {c["type"]: c["status"] for c in live["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_a1_a_client_side_apply_has_no_complaint(cluster, tmp_path):
    """Under another group, where nobody applied it yet: its annotation holds the whole of it once more."""
    (file,) = (EXAMPLES.parent).glob("*.yaml")
    definition = yaml.safe_load(file.read_text())
    definition["metadata"]["name"], definition["spec"]["group"] = "virtualtables.vdt.test", "vdt.test"
    other = tmp_path / "definition.yaml"
    other.write_text(yaml.safe_dump(definition))
    assert file.stat().st_size < 200_000
    kubectl = [cluster.bin / "kubectl", "apply", "-f", other]
    try:
        out = subprocess.run(kubectl, env=cluster.environment, capture_output=True, text=True, check=False)
        assert (out.returncode, out.stderr) == (0, "")
        assert "last-applied" in cluster("get", "crd", "virtualtables.vdt.test", "-o", "jsonpath={.metadata.annotations}")
        cluster("wait", "crd/virtualtables.vdt.test", "--for=condition=Established", "--timeout=30s")
    finally:
        cluster("delete", "crd", "virtualtables.vdt.test", "--ignore-not-found")


def undescribed(schema: dict, path: str = "") -> list[str]:
    """Fields of a schema without a word about them."""
    found = []
    for name, each in schema.get("properties", {}).items():
        found += [] if each.get("description") else [f"{path}.{name}"]
        found += undescribed(each, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += undescribed(schema[key], f"{path}[]")
    return found


def test_a11_kubectl_explains_every_field(cluster, definitions):
    schema = cluster.get("crd", "virtualtables.vdt.io")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    # Of `metadata` Kubernetes tells.
    assert undescribed({"properties": {name: schema["properties"][name] for name in ("spec", "status")}}) == []
    whole = cluster("explain", "virtualtable", "--recursive")
    assert "<no description>" not in whole
    told = {line.split("\t")[0].strip() for line in whole.splitlines() if "\t" in line}
    assert {"trafficDistribution", "highWatermarkPercent", "onShrink"} <= told
    one = cluster("explain", "virtualtable.spec.server.routing.trafficDistribution")
    assert "ENUM" in one and "PreferSameZone" in one and "copied to the Service" in one


def test_a2_what_is_stored_is_what_is_committed(cluster, definitions):
    (file,) = (EXAMPLES.parent).glob("*.yaml")
    live = cluster.get("crd", "virtualtables.vdt.io")["spec"]
    live.pop("conversion")
    assert live == yaml.safe_load(file.read_text())["spec"]


def test_a3_every_good_manifest_is_accepted(docs):
    files = [*sorted((EXAMPLES / "good").glob("*.yaml")), EXAMPLES.parents[1] / "examples" / "manuals.yaml"]
    assert {name: said for name, said in verdicts(docs, files).items() if said} == {}


def test_a3_every_bad_manifest_is_refused_with_our_sentence(docs):
    files = sorted((EXAMPLES / "bad").glob("*.yaml"))
    assert files
    said = verdicts(docs, files)
    other = {f.name: said[f.name] for f in files if expectation(f) not in said[f.name]}
    assert other == {}


@pytest.mark.parametrize("file", sorted((EXAMPLES / "transitions").glob("*.yaml")), ids=lambda f: f.stem)
def test_a4_transition(docs, file):
    expected = expectation(file)
    before, change = [d for d in yaml.safe_load_all(file.read_text()) if d]
    docs("delete", "vt", before["metadata"]["name"], "--ignore-not-found", "--wait=true")
    docs.create(before)

    def patch() -> None:
        docs("patch", "vt", before["metadata"]["name"], "--type=merge", "-p", json.dumps(change))

    try:
        if expected == "accepted":
            patch()
        else:
            with pytest.raises(Refused) as refused:
                patch()
            assert expected in refused.value.stderr
    finally:
        docs("delete", "vt", before["metadata"]["name"], "--ignore-not-found", "--wait=false")


def lists(schema: dict, path: str = "") -> list[tuple[str, dict]]:
    """The schemas of all items of lists, by their paths."""
    found = [(f"{path}[]", schema["items"])] if "items" in schema else []
    children = [*schema.get("properties", {}).items(), *[("[]", schema[key]) for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]]
    return found + [one for name, child in children for one in lists(child, f"{path}.{name}")]


def defaults(schema: dict) -> bool:
    children = [*schema.get("properties", {}).values(), *[schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]]
    return "default" in schema or any(defaults(child) for child in children)


def test_a6_a_minimal_table_gets_just_these_defaults_and_no_list_any(cluster, docs):
    """A default inside of a list would make what is stored differ from Git's file for ever."""
    schema = cluster.get("crd", "virtualtables.vdt.io")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert [path for path, item in lists(schema["properties"]["spec"]) if defaults(item)] == []
    manifest = yaml.safe_load((EXAMPLES / "good" / "minimal.yaml").read_text())
    manifest["metadata"]["name"] = "least"
    docs.create(manifest)
    try:
        spec = docs.get("vt", "least")["spec"]
    finally:
        docs("delete", "vt", "least", "--wait=false")
    assert spec["sources"] == manifest["spec"]["sources"]
    golden = yaml.safe_load((Path(__file__).parent / "golden" / "minimal-defaults.yaml").read_text())
    assert spec == golden, yaml.safe_dump(spec)


def test_a10_columns_are_as_promised_and_tables_are_found_by_suspension(docs):
    manifest = yaml.safe_load((EXAMPLES / "good" / "hibernated.yaml").read_text())
    manifest["metadata"]["name"] = "columns"
    docs.create(manifest)
    try:
        narrow, wide = (docs("get", "vt", "columns", *more).splitlines()[0].split() for more in ([], ["-o", "wide"]))
        assert narrow == ["NAME", "READY", "REASON", "ARTIFACTS", "VERSION", "DESIRED", "UP", "CACHE", "AGE"]
        assert wide == [*narrow[:-1], "SUSPENDED", "STATE", "ACCESS", "DISK", "ENDPOINT", "MESSAGE", "AGE"]
        assert docs("get", "vt", "--field-selector=spec.suspend=true", "-o", "name").split() == ["virtualtable.vdt.io/columns"]
        assert docs("get", "vt", "--field-selector=spec.suspend=false,metadata.name=columns", "-o", "name").split() == []
    finally:
        docs("delete", "vt", "columns", "--wait=false")


def test_a5_a13_what_the_server_takes_of_random_edits_vdt_takes_too(docs, tmp_path):
    """Edits of good manifests: a field away, or with a value from elsewhere. The operator reads whatever is stored."""
    vdt = os.environ.get("VDT")
    if not vdt:
        why = "VDT names no vdt binary (test.sh does)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    seed = int(os.environ.get("E2E_FUZZ_SEED", "0")) or random.randrange(1 << 32)
    print(f"E2E_FUZZ_SEED={seed}")
    chance = random.Random(seed)
    bases = [yaml.safe_load(file.read_text()) for file in sorted((EXAMPLES / "good").glob("*.yaml")) if file.stat().st_size < 8_000]
    values = [value for base in bases for _, _, value in places(base["spec"])] + [0, -1, 1 << 40, "", "x" * 300, [], {}, True, "1Gi", 1.5]
    files = []
    for number in range(FUZZED):
        manifest = copy.deepcopy(chance.choice(bases))
        manifest["metadata"]["name"] = f"fuzz-{number}"
        for _ in range(chance.randint(1, 2)):
            holder, key, _ = chance.choice(list(places(manifest["spec"])))
            if chance.random() < 0.4:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(chance.choice(values))
            if not list(places(manifest["spec"])):
                break
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(manifest))
    said = verdicts(docs, files)
    accepted = [file for file in files if not said[file.name]]
    assert len(accepted) >= FUZZED // 50, f"{len(accepted)} of {FUZZED} were accepted: the edits are too wild"
    refused = {}
    for file in files:
        out = subprocess.run([vdt, "validate", "--profile=cluster", file], capture_output=True, text=True, check=False)
        if (out.returncode == 0) != (not said[file.name]):
            refused[file.read_text()] = out.stdout + out.stderr or said[file.name]
    assert refused == {}, f"seed {seed}"


def places(value: object) -> Iterator[tuple]:
    """Every place of a value: its holder, key or index, and what lies there."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in pairs:
        yield value, key, inner
        yield from places(inner)


def test_a7_a_new_table_is_not_yet_ready(docs):
    manifest = yaml.safe_load((EXAMPLES / "good" / "minimal.yaml").read_text())
    manifest["metadata"]["name"] = "fresh"
    docs.create(manifest)
    try:
        status = docs.get("vt", "fresh")["status"]
        assert status["observedGeneration"] == -1
        assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Ready", "Unknown")]
    finally:
        docs("delete", "vt", "fresh", "--wait=false")


def test_a8_the_same_file_three_times_changes_nothing(docs):
    manifest = yaml.safe_load((EXAMPLES / "good" / "minimal.yaml").read_text())
    manifest["metadata"]["name"] = "same"
    seen = []
    for _ in range(3):
        docs.apply(manifest)
        metadata = docs.get("vt", "same")["metadata"]
        seen.append((metadata["generation"], metadata["resourceVersion"]))
    docs("delete", "vt", "same", "--wait=false")
    assert {generation for generation, _ in seen} == {1}
    # The second apply stores the defaults of the status; the third finds them.
    assert seen[1] == seen[2]


def test_a9_what_was_scaled_stays_when_git_says_nothing_of_replicas(docs):
    manifest = yaml.safe_load((EXAMPLES / "good" / "design.yaml").read_text())
    manifest["metadata"]["name"] = "scaled"
    del manifest["spec"]["server"]["replicas"]
    docs.apply(manifest)
    docs("scale", "vt/scaled", "--replicas=3")
    docs.apply(manifest)
    assert docs.get("vt", "scaled")["spec"]["server"]["replicas"] == 3
    docs("delete", "vt", "scaled", "--wait=false")
