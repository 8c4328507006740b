"""The chart on a real API server: everything it renders is accepted, strictly; upgrades and uninstalls do as they say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from kube import Kube

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "vdt"
VALUES = sorted((ROOT / "charts" / "tests" / "values").glob("*.yaml"))
FOREIGN = {"monitoring.coreos.com"}


def rendered(kube: Kube, *args: str) -> list[dict]:
    text = kube.helm("template", "vdt", str(CHART), *args)
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.mark.parametrize("values", VALUES, ids=lambda f: f.stem)
def test_b15_b29_every_object_is_accepted_by_the_server(cluster, kube, values):
    # Values that watch another namespace watch the test's.
    watched = [f"--set=watchNamespace={kube.namespace}"] if "watchNamespace" in values.read_text() else []
    documents = rendered(kube, "--values", str(values), *watched)
    ours = [d for d in documents if d["apiVersion"].split("/")[0] not in FOREIGN]
    assert ours
    # A dry run stores nothing, and a pod needs its account.
    for account in {d["spec"]["serviceAccountName"] for d in ours if d["kind"] == "Pod"}:
        kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    text = yaml.safe_dump_all(ours)
    out = subprocess.run(
        [kube.bin / "kubectl", "-n", kube.namespace, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"],
        input=text, env=kube.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    # Pod security warns here of a Deployment whose pods it would refuse.
    assert "Warning" not in out.stderr
