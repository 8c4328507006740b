"""`kubectl vt` against a real API server: what needs no node. Forwarded ports need a kubelet: kubectl-vt/tests plays one, e2e/cluster has one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from control_plane import BIN, wait
from tables import is_ready, table, until, until_ready


class Plugin:
    """The plug-in by kubectl, in a namespace."""

    def __init__(self, plane, namespace: str, token: str = "admin"):
        self.namespace, self.kubeconfig = namespace, plane.kubeconfig(token)

    def __call__(self, *args: str, code: int = 0, stdin: str | None = None) -> str:
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": f"{Path(os.environ['KUBECTL_VT']).parent}{os.pathsep}{os.environ['PATH']}"}
        out = subprocess.run(
            [BIN / "kubectl", "vt", "-n", self.namespace, *args], input=stdin, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert out.returncode == code, f"kubectl vt {' '.join(args)}: {out.returncode}\n{out.stdout}{out.stderr}"
        assert "panicked" not in out.stderr
        return out.stdout if code == 0 else out.stdout + out.stderr

    def plan(self, body: dict, *args: str, code: int = 0) -> str:
        return self("plan", "-f", "-", *args, code=code, stdin=yaml.safe_dump(body))


@pytest.fixture
def vt(plane, namespace):
    return Plugin(plane, namespace)


def test_status_says_what_is_missing_and_what_to_do(api, operator, namespace, vt):
    operator.start()
    api.apply("VirtualTable", table(credentials="corp-ro"), namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound")
    said = vt("status", "manuals", "--no-pods")
    assert said.startswith(f"{namespace}/manuals: not ready (SecretNotFound)")
    assert "NEXT\n  create it in the table's namespace" in said
    api.create("Secret", {"metadata": {"name": "corp-ro"}, "stringData": {"accessKeyId": "a", "secretAccessKey": "b"}}, namespace)
    until_ready(api, namespace)
    said = vt("status", "manuals", "--no-pods")
    for part in ("ready (Serving)", f"s3://main/{namespace}/manuals", "version   3, 412 artifacts", "2 of 2 serve", "manuals-1   True"):
        assert part in said, said
    assert "NEXT" not in said
    rows = json.loads(vt("status", "-o", "json"))
    assert [(one["name"], one["version"], one["isObserved"]) for one in rows] == [("manuals", 3, True)]


def test_a_plan_of_a_new_table_makes_everything_and_stores_nothing(api, namespace, vt):
    said = vt.plan(table())
    assert said.startswith(f"VirtualTable {namespace}/manuals: would be created")
    assert "pods: 2 pods would be made" in said
    assert "StatefulSet manuals" in said
    assert api.get("VirtualTable", "manuals", namespace) is None


def test_a_plan_says_which_pods_go_and_the_operator_does_so(api, plane, operator, namespace, vt):
    operator.start()
    plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(table(spec={"retention": "24h"})))
    until_ready(api, namespace)
    assert vt.plan(table(spec={"retention": "24h"})) == f"VirtualTable {namespace}/manuals: no change\n  then\n    nothing: pods and children stay as they are\n"
    assert "nothing: pods and children stay" in vt("plan", "manuals")

    # A field that leaves the manifest goes, as `kubectl apply` takes it; the default comes back.
    said = vt.plan(table())
    assert 'spec.retention: "24h" -> "168h"' in said

    memory = table(spec={"retention": "24h"}, resources={"sidecar": {"requests": {"memory": "3Gi"}, "limits": {"memory": "3Gi"}}})
    assert "cpu and memory of 2 pods change in place" in vt.plan(memory)
    assert json.loads(vt.plan(memory, "-o", "json"))[0]["follows"]["replaced"] == []

    globs = table(spec={"retention": "24h"})
    globs["spec"]["sources"][0]["include"] = ["**/*.pdf"]
    said = vt.plan(globs)
    assert '+ spec.sources[bucket].include: ["**/*.pdf"]' in said
    assert "told of the change while they run, none is replaced" in said

    fewer = table(spec={"retention": "24h"}, replicas=1)
    said = vt.plan(fewer)
    assert "spec.server.replicas: 2 -> 1" in said
    assert "deletes PodDisruptionBudget manuals" in said

    rolled = table(spec={"retention": "24h"}, serviceAccountName="other")
    said = vt.plan(rolled)
    assert "2 pods replaced, one at a time, manuals-1, manuals-0" in said
    assert "template.spec.serviceAccountName" in said
    assert "deletes ServiceAccount manuals" in said
    plan = json.loads(vt.plan(rolled, "-o", "json"))[0]
    assert plan["follows"]["replaced"] == ["manuals-1", "manuals-0"]
    assert plan["refusals"] == []

    # Nothing of it was stored; and what is applied comes to what was said.
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in api.list("Pod", namespace)}
    assert set(before) == {"manuals-0", "manuals-1"}
    plane.kubectl("-n", namespace, "create", "serviceaccount", "other")
    plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(rolled))

    def rolled_over():
        now = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in api.list("Pod", namespace)}
        return set(now) == set(before) and not set(now.values()) & set(before.values()) and is_ready(api, namespace)

    wait("both pods are replaced", rolled_over, 60)
    assert api.get("ServiceAccount", "manuals", namespace) is None
    assert "nothing: pods and children stay" in vt("plan", "manuals")


def test_a_plan_by_server_side_apply_lets_fields_go_and_names_conflicts(api, namespace, vt):
    api.apply("VirtualTable", table(spec={"retention": "24h"}), namespace, manager="flux")
    assert 'spec.retention: "24h" -> "168h"' in vt.plan(table())
    said = vt.plan(table(spec={"retention": "48h"}), "--field-manager=other", code=1)
    assert "refused by the API server" in said
    assert "retention" in said
    assert 'spec.retention: "24h" -> "48h"' in vt.plan(table(spec={"retention": "48h"}), "--field-manager=other", "--force-conflicts")


def test_a_plan_names_the_field_of_every_refusal(api, namespace, vt):
    bad = table(state={"type": "Ephemeral"})
    bad["spec"]["retention"] = "soon"
    said = vt.plan(bad, code=1)
    assert "refused by the API server" in said
    assert "spec.retention" in said
    said = vt.plan(table(state={"type": "Ephemeral"}), code=1)
    assert "spec.server" in said
    assert "more than one replica" in said
    unknown = table()
    unknown["spec"]["refrsh"] = {}
    assert "refrsh" in vt.plan(unknown, code=1)
    assert api.get("VirtualTable", "manuals", namespace) is None


def test_a_plan_says_what_the_operator_would_refuse(api, namespace, vt):
    legs = table()
    legs["spec"]["checksum"] = "SHA256"
    said = vt.plan(legs, code=1)
    assert "taken by the API server, refused by the operator" in said
    assert "Unsupported: spec.checksum" in said


def test_snippets_name_the_service(api, operator, namespace, vt):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    said = vt("snippets", "manuals")
    assert f"ENDPOINT 'manuals.{namespace}.svc:8080'" in said
    assert f"kubectl -n {namespace} port-forward svc/manuals 8080:8080" in said
    for client in ("DuckDB", "Polars", "delta-rs", "Spark"):
        assert said.count(f"  {client} (") == 2


def test_what_is_not_there_or_not_allowed_is_said(api, plane, namespace, vt):
    assert f"there is no VirtualTable missing in namespace {namespace}" in vt("status", "missing", code=1)
    assert "no VirtualTables in namespace" not in vt("status")
    nobody = "--as=nobody"
    assert "docs/kubernetes/plugin.md lists the verbs" in vt("status", nobody, code=1)
    # The role of the chart, bound in this namespace.
    plane.kubectl("-n", namespace, "create", "rolebinding", "ask", "--clusterrole=vdt-system-vdt-operator-plugin", "--user=nobody")
    wait("the role is bound", lambda: plane.kubectl("-n", namespace, "auth", "can-i", "list", "vt", "--as=nobody", check=False).startswith("yes"))
    assert vt("status", nobody) == ""
    # Pods that cannot be asked are named; without a kubelet no port is forwarded.
    api.apply("VirtualTable", table(), namespace)
    assert "no pod of" in vt("refresh", "manuals", nobody, code=1)
    assert vt("top", "manuals", nobody) == ""


def test_completions_of_kubectl_itself(api, plane, namespace, tmp_path):
    """kubectl finds the script in the PATH and believes it."""
    api.apply("VirtualTable", table("manuals"), namespace)
    script = Path(__file__).resolve().parents[2] / "kubectl-vt" / "kubectl_complete-vt"
    for name, target in (("kubectl_complete-vt", script), ("kubectl-vt", Path(os.environ["KUBECTL_VT"]))):
        (tmp_path / name).symlink_to(target)
    env = {**os.environ, "KUBECONFIG": str(plane.kubeconfig("admin")), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    for words, expected in ((["vt", "sta"], "status"), (["vt", "status", "-n", namespace, "ma"], "manuals")):
        out = subprocess.run([BIN / "kubectl", "__complete", *words], env=env, capture_output=True, text=True, timeout=30, check=False)
        assert out.stdout.splitlines()[0] == expected, out.stdout + out.stderr
