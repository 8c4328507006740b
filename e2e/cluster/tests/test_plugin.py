"""`kubectl vt` where pods run: ports forwarded through a real kubelet to a real front door."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest
from kube import until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def plugin() -> Path:
    """The binary of this checkout, as `test.sh` builds it."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    binary = Path(os.environ.get("KUBECTL_VT") or target / "debug" / "kubectl-vt")
    if not binary.exists():
        pytest.fail(f"{binary} does not exist: cargo build --bin kubectl-vt, or KUBECTL_VT")
    return binary


@pytest.fixture
def operator(kube, definitions, images):
    """An operator of the test's namespace."""
    name = f"r{uuid.uuid4().hex[:6]}"
    kube.helm("install", name, str(ROOT / "charts" / "vdt"), "--wait", "--timeout=90s", "--take-ownership",
              "--set", f"fullnameOverride={name},scope=Namespaced,crds.enabled=false,replicas=1", *images)  # fmt: skip
    yield name
    kube.helm("uninstall", name, "--ignore-not-found", "--wait")


def test_status_refresh_top_and_snippets_of_a_table_that_serves(kube, operator, buckets, plugin):
    s3 = buckets.client()
    s3.create_bucket(Bucket="plugin")
    s3.put_object(Bucket="plugin", Key="m/one.pdf", Body=b"%PDF one")
    keys = {"accessKeyId": buckets.access_key, "secretAccessKey": buckets.secret_key}
    kube.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "corp-ro"}, "stringData": keys},
        {"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "metadata": {"name": "manuals"},
         "spec": {"sources": [{"name": "bucket", "type": "S3",
                               "s3": {"bucket": "plugin", "prefix": "m/", "endpoint": buckets.endpoint, "region": "us-east-1", "credentials": {"secretRef": {"name": "corp-ro"}}}}],
                  "refresh": {"intervalSeconds": 3600},
                  "server": {"replicas": 1, "state": {"type": "Ephemeral"}, "access": {"mode": "Anonymous"}}}},
    )  # fmt: skip

    def vt(*args: str, code: int = 0) -> str:
        environment = kube.environment | {"PATH": f"{plugin.parent}{os.pathsep}{kube.environment['PATH']}"}
        out = subprocess.run([kube.bin / "kubectl", "vt", "-n", kube.namespace, *args], env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert out.returncode == code, f"kubectl vt {' '.join(args)}: {out.returncode}\n{out.stdout}{out.stderr}"
        return out.stdout

    def serves() -> bool:
        table = json.loads(vt("status", "manuals", "-o", "json"))
        return table["version"] is not None and table["artifacts"] == 1 if "version" in table else False

    until("the table serves", serves, seconds=90)
    # Its version is told before its pod has been ready for a moment, which a refresh asks for.
    kube.wait("virtualtable/manuals", "condition=Ready")
    said = vt("status", "manuals")
    for part in (f"s3://main/{kube.namespace}/manuals", "1 artifacts; the sources were so", "\nCACHE\n  manuals-0: memory "):
        assert part in said, said

    s3.put_object(Bucket="plugin", Key="m/two.pdf", Body=b"%PDF two")
    # An artifact is held back for two seconds (refresh.settleSeconds).
    found = until("the second file is found", lambda: (r := json.loads(vt("refresh", "manuals", "--wait", "-o", "json")))["artifacts"] == 2 and r, seconds=30)
    assert (found["outcome"], found["added"]) == ("Committed", 1)
    assert "is as its sources are: 2 artifacts" in vt("refresh", "manuals", "--wait")
    assert "refresh queued by manuals-0" in vt("refresh", "manuals")

    pods = json.loads(vt("top", "-o", "json"))
    assert [pod["pod"] for pod in pods] == ["manuals-0"]
    assert pods[0]["cache"]["tiers"]["memory"]["state"] == "Ok"
    assert "manuals-0" in vt("top", "manuals")
    assert "nothing: pods and children stay as they are" in vt("plan", "manuals")
    assert f"ENDPOINT 'manuals.{kube.namespace}.svc:8080'" in vt("snippets", "manuals")
