"""The CustomResourceDefinition on a real API server: the same verdicts, with our sentences, that `vdt validate` gives."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from kube import Kube, Refused

EXAMPLES = Path(__file__).resolve().parents[3] / "crds" / "examples"
CALLS_AT_ONCE = 4


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
        out = subprocess.run(
            [docs.bin / "kubectl", "create", "--dry-run=server", "-f", file], env=docs.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        # A warning is a defect of the definition, not a verdict on the manifest.
        assert "Warning" not in out.stderr, f"{file.name}: {out.stderr}"
        return out.stderr if out.returncode else ""

    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        return dict(zip([f.name for f in files], pool.map(verdict, files), strict=True))


def test_a1_the_definition_is_established_without_a_complaint(cluster, definitions):
    live = cluster.get("crd", "virtualtables.vdt.io")
    conditions = {c["type"]: c["status"] for c in live["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions


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
