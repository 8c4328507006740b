"""One truth table for Argo CD, Flux, kstatus and kubectl (deploy/gitops/truth.yaml), by the code of each tool: `kubectl wait` itself, the libraries of kstatus
and Flux, and for Argo CD the same Lua, opened as Argo CD opens it, in one program (`e2e/cluster/gitops`), asked about objects of a real API server. B30.
And Helm, whose `--wait` is kstatus too. B29.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from control_plane import BIN
from tables import is_ready, table

GITOPS = Path(__file__).resolve().parents[2] / "deploy/gitops"
ROWS = yaml.safe_load((GITOPS / "truth.yaml").read_text())


@pytest.fixture
def resource(api, namespace):
    """A table of generation 2 with the status of a row."""

    def make(row: dict) -> dict:
        api.create("VirtualTable", table(replicas=1), namespace)
        spec = {"server": {"replicas": 2}, "suspend": row.get("suspend", False)}
        api.patch("VirtualTable", "manuals", {"spec": spec}, namespace)
        seen, conditions = row["status"]["observedGeneration"], row["status"]["conditions"]
        common = {"reason": "Row", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"observedGeneration": seen, "conditions": [{"type": kind, "status": status, **common} for kind, status in conditions.items()]}
        found = api.patch("VirtualTable", "manuals", {"status": status}, namespace, "/status")
        assert found["metadata"]["generation"] == 2
        return found

    return make


def judged(found: dict) -> dict:
    """What kstatus, Flux and Argo CD make of it."""
    expressions = yaml.safe_load((GITOPS / "flux/healthCheckExprs.yaml").read_text())["healthCheckExprs"][0]
    # Flux asks expressions of one kind only about objects of that kind.
    assert (expressions["apiVersion"], expressions["kind"]) == (found["apiVersion"], found["kind"])
    question = {"expressions": expressions, "script": (GITOPS / "argocd/health.lua").read_text(), "resources": [found]}
    out = subprocess.run([BIN / "gitops"], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    (verdict,) = json.loads(out.stdout)
    return verdict


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"].replace(" ", "-"))
def test_b30_every_tool_says_what_the_table_says(plane, namespace, resource, row):
    verdict = judged(resource(row))
    waited = plane.kubectl("-n", namespace, "wait", "--for=condition=Ready", "vt/manuals", "--timeout=0", check=False)
    verdict["wait"] = "condition met" in waited
    assert verdict["wait"] or "condition not met" in waited, waited
    assert verdict == row["expect"]


def test_b30_the_config_map_holds_the_script():
    data = yaml.safe_load((GITOPS / "argocd/argocd-cm.yaml").read_text())["data"]
    assert data["resource.customizations.health.vdt.io_VirtualTable"] == (GITOPS / "argocd/health.lua").read_text()


def asked_of_argo(script: str, found: dict):
    """What a script of an action, or of their discovery, returns."""
    question = {"action": script, "resources": [found]}
    out = subprocess.run([BIN / "gitops"], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    (returned,) = json.loads(out.stdout)
    return returned


def without_empty(value):
    """As Lua gives it back, in which what is empty is neither a list nor a map."""
    if isinstance(value, dict):
        return {key: without_empty(one) for key, one in value.items()} or None
    if isinstance(value, list):
        return [without_empty(one) for one in value] or None
    return value


def test_b30_argo_cd_suspends_and_resumes(api, namespace, resource):
    data = yaml.safe_load((GITOPS / "argocd/argocd-cm.yaml").read_text())["data"]
    actions = yaml.safe_load(data["resource.customizations.actions.vdt.io_VirtualTable"])
    scripts = {one["name"]: one["action.lua"] for one in actions["definitions"]}
    found = resource(next(row for row in ROWS if row["name"] == "serving"))
    for name, other, suspended in (("suspend", "resume", True), ("resume", "suspend", False)):
        menu = asked_of_argo(actions["discovery.lua"], found)
        assert menu == {name: {"disabled": False}, other: {"disabled": True}}
        returned = asked_of_argo(scripts[name], found)
        wanted = found | {"spec": found["spec"] | {"suspend": suspended}}
        assert returned == without_empty(wanted), "it changes nothing else"
        # What differs is patched.
        found = api.patch("VirtualTable", "manuals", {"spec": {"suspend": returned["spec"]["suspend"]}}, namespace)
        assert found["spec"]["suspend"] is suspended


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
