"""One truth table for Argo CD, Flux, kstatus and kubectl (deploy/gitops/truth.yaml). B30. And Helm, whose `--wait` is kstatus itself. B29.

Argo CD's script runs in Lua 5.1 (Argo CD has gopher-lua, of the same language), Flux's expressions in a reading of the few forms that they have,
kstatus in a port of its rules for resources with conditions: not by the tools themselves.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from control_plane import BIN
from tables import is_ready, table

GITOPS = Path(__file__).resolve().parents[2] / "deploy/gitops"
ROWS = yaml.safe_load((GITOPS / "truth.yaml").read_text())


def resource(row: dict) -> dict:
    conditions = [{"type": kind, "status": status, "message": kind} for kind, status in row["status"]["conditions"].items()]
    return {
        "metadata": {"generation": 2}, "spec": {"suspend": row.get("suspend", False)},
        "status": {"observedGeneration": row["status"]["observedGeneration"], "conditions": conditions},
    }  # fmt: skip


def status_of(found: dict, kind: str) -> str | None:
    return next((one["status"] for one in found["status"]["conditions"] if one["type"] == kind), None)


def kstatus(found: dict) -> str:
    """sigs.k8s.io/cli-utils pkg/kstatus, `checkGenericProperties`."""
    if found["status"]["observedGeneration"] != found["metadata"]["generation"]:
        return "InProgress"
    if status_of(found, "Reconciling") == "True":
        return "InProgress"
    if status_of(found, "Stalled") == "True":
        return "Failed"
    return {"True": "Current", None: "Current"}.get(status_of(found, "Ready"), "InProgress")


def waits_no_longer(found: dict) -> bool:
    """k8s.io/kubectl pkg/cmd/wait, `checkCondition`: a condition of an earlier generation counts for nothing."""
    return found["status"]["observedGeneration"] >= found["metadata"]["generation"] and status_of(found, "Ready") == "True"


def flux(found: dict) -> str:
    checks = yaml.safe_load((GITOPS / "flux/healthCheckExprs.yaml").read_text())["healthCheckExprs"][0]

    def holds(expression: str) -> bool:
        text = re.sub(r"status\.conditions\.exists\(e, e\.type == '(\w+)' && e\.status == '(\w+)'\)", r"(has('\1') == '\2')", expression)
        text = text.replace("status.observedGeneration", "seen").replace("metadata.generation", "now").replace("&&", "and").replace("||", "or")
        assert not re.search(r"[{}\[\]]|\bself\b|\bobject\b", text), f"a form that this does not read: {expression}"
        names = {"has": lambda kind: status_of(found, kind), "seen": found["status"]["observedGeneration"], "now": found["metadata"]["generation"]}
        return bool(eval(text, {"__builtins__": {}}, names))

    # Flux's order: current, failed, in progress.
    for field, result in [("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")]:
        if holds(checks[field]):
            return result
    return "InProgress"


def lua(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{lua(key)}] = {lua(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(lua(one) for one in value) + "}"
    return {True: "true", False: "false"}.get(value, repr(value)) if isinstance(value, bool) else repr(value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"].replace(" ", "-"))
def test_b30_kstatus_flux_and_kubectl(row):
    found = resource(row)
    assert kstatus(found) == row["expect"]["kstatus"]
    assert flux(found) == row["expect"]["flux"]
    assert waits_no_longer(found) == row["expect"]["wait"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"].replace(" ", "-"))
def test_b30_argo(row):
    interpreter = shutil.which("lua5.1") or shutil.which("luajit")
    if not interpreter:
        assert os.environ.get("CI") != "true", "apt-get install lua5.1"
        pytest.skip("no lua5.1")
    script = f"obj = {lua(resource(row))}\nlocal function health()\n{(GITOPS / 'argocd/health.lua').read_text()}\nend\nprint(health().status)"
    out = subprocess.run([interpreter, "-"], input=script, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == row["expect"]["argo"]


def test_b30_the_config_map_holds_the_script():
    data = yaml.safe_load((GITOPS / "argocd/argocd-cm.yaml").read_text())["data"]
    assert data["resource.customizations.health.vdt.io_VirtualTable"] == (GITOPS / "argocd/health.lua").read_text()


@pytest.fixture
def install(plane, namespace, tmp_path):
    """`helm install --wait` of a chart that holds a table, under way."""
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: tables, version: 0.1.0}")
    (chart / "templates/table.yaml").write_text(yaml.safe_dump(table()))
    command = [BIN / "helm", f"--kubeconfig={plane.kubeconfig('admin')}", "-n", namespace, "install", "tables", chart, "--wait", "--timeout=60s"]
    helm = []

    def begin() -> subprocess.Popen:
        helm.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return helm[0]

    yield begin
    for one in helm:
        one.kill()
        one.wait()


def test_b29_helm_waits_until_a_table_is_ready(api, pods, operator, namespace, install):
    pods.ready = False
    operator.start()
    helm = install()
    time.sleep(6)
    assert api.get("StatefulSet", "manuals", namespace)
    assert helm.poll() is None, helm.stdout.read()
    pods.ready = True
    out = helm.communicate(timeout=40)[0]
    assert helm.returncode == 0, out
    assert is_ready(api, namespace)


def test_b29_helm_fails_for_a_table_that_stalls(api, operator, namespace, install):
    api.create("Service", {"metadata": {"name": "manuals"}, "spec": {"ports": [{"port": 80}]}}, namespace)
    operator.start()
    began = time.monotonic()
    out = install().communicate(timeout=100)[0]
    assert "status: Failed" in out and "belongs to somebody else" in out, out
    assert time.monotonic() - began < 50, "it does not wait for what will not come"


def test_b29_leader_election_is_turned_off_and_on_by_an_upgrade(plane, api, namespace):
    """Without it no two operators run at once, so the Deployment gets another strategy, which leaves no field of the one before."""

    def helm(verb: str, election: str) -> dict:
        values = f"replicas=1,crds.enabled=false,fullnameOverride={namespace},leaderElection.enabled={election}"
        command = [BIN / "helm", f"--kubeconfig={plane.kubeconfig('admin')}", "-n", namespace, verb, "vdt", GITOPS.parents[1] / "charts/vdt", "--set", values]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        assert out.returncode == 0, out.stderr
        return api.call("GET", f"apis/apps/v1/namespaces/{namespace}/deployments/{namespace}")["spec"]["strategy"]

    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    try:
        assert helm("install", "true") == rolling
        assert helm("upgrade", "false") == {"type": "Recreate"}
        assert helm("upgrade", "true") == rolling
    finally:
        subprocess.run([BIN / "helm", f"--kubeconfig={plane.kubeconfig('admin')}", "-n", namespace, "uninstall", "vdt", "--ignore-not-found"], check=True, capture_output=True)
