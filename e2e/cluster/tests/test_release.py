"""The chart installed: `helm install --wait`, `helm test`, upgrade, uninstall, and what the operator's account may do."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import yaml
from kube import Kube, Refused, until
from releases import CHART, ROOT, release

GOOD = ROOT / "crds" / "examples" / "good"
CRD = "virtualtables.vdt.io"


def account(kube: Kube, name: str) -> str:
    return f"system:serviceaccount:{kube.namespace}:{name}"


def can(kube: Kube, user: str, verb: str, resource: str, namespace: str) -> bool:
    """Whether an account may: `resource` may be `pods/log`."""
    resource, _, sub = resource.partition("/")
    more = [f"--subresource={sub}"] if sub else []
    try:
        return kube.within(namespace)("auth", "can-i", verb, resource, *more, f"--as={user}").strip() == "yes"
    except Refused:
        return False


def test_b29_installs_tests_upgrades_and_leaves_tables_behind(kube, definitions, images):
    table = yaml.safe_load((GOOD / "hibernated.yaml").read_text())
    table["metadata"] = {"name": "kept", "namespace": kube.namespace}
    with release(kube, images) as name:
        said = kube.helm("test", name, "--logs", "--timeout=60s")
        assert "leads" in said
        assert "WRONG" not in said
        kube.apply(table)

        kube.helm("upgrade", name, CHART, "--reuse-values", "--set=replicas=1,podDisruptionBudget.enabled=false", "--wait", "--timeout=90s")
        assert kube.get("deployment", name)["status"]["readyReplicas"] == 1
        assert not kube.exists("pdb", name)
        definition = kube.get("crd", CRD)
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert definition["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"

    assert not kube.exists("deployment", name)
    assert kube.exists("crd", CRD)
    assert kube.exists("vt", "kept")
    # Made by the operator for itself: docs/kubernetes/upgrade.md names them.
    assert kube.exists("secret", f"{name}-admin-key")
    assert kube.exists("lease", f"{name}-leader")


def test_b18_a_table_goes_without_an_operator(kube, definitions):
    """No finalizer holds it: nothing has to run for it to go."""
    table = yaml.safe_load((GOOD / "hibernated.yaml").read_text())
    table["metadata"] = {"name": "gone", "namespace": kube.namespace}
    kube.apply(table)
    kube("delete", "vt", "gone", "--timeout=10s")
    assert not kube.exists("vt", "gone")


def test_b26_nothing_the_operator_asks_for_is_forbidden(kube, definitions, images, machine):
    """With the chart's default values: by them no Secrets may be listed. (With `secrets.watch`: e2e/operator/test_rights.py.)"""
    with release(kube, images) as name:
        for example in ("design", "minimal", "restricted-network", "state-claim", "file", "tls-secret"):
            table = yaml.safe_load((GOOD / f"{example}.yaml").read_text())
            table["metadata"]["namespace"] = kube.namespace
            kube.apply(table)

        def judged() -> bool:
            return all(t["status"]["observedGeneration"] == 1 for t in kube.list("vt"))

        until("every table was looked at", judged)
        kube("delete", "vt", "--all", "--timeout=20s")
        user = account(kube, name)
        entries = [json.loads(line) for line in machine.settings.audit_log.read_text().splitlines() if user in line]
        asked = [e for e in entries if e["user"]["username"] == user]
        assert len(asked) > 50
        assert {e["verb"] for e in asked if e.get("objectRef", {}).get("resource") == "secrets"} == {"get", "create"}
        # By the roles: what is asked of a namespace on its way out, as another test's may be, is refused with the same status.
        forbidden = {f"{e['verb']} {e['requestURI']}" for e in asked if e.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"}
        assert forbidden == set()


def test_b26_a_cluster_wide_operator_reads_named_secrets_and_lists_none(kube, definitions, images):
    with release(kube, images) as name:
        user = account(kube, name)
        assert can(kube, user, "get", "secrets", "default")
        assert not can(kube, user, "list", "secrets", "default")
        assert not can(kube, user, "create", "secrets", "default")
        assert not can(kube, user, "create", "pods", "default")
        assert not can(kube, user, "get", "pods/log", kube.namespace)
        assert not can(kube, user, "create", "pods/exec", kube.namespace)


def test_b26_an_operator_of_one_namespace_sees_no_other(kube, definitions, images):
    with release(kube, images, "--set=scope=Namespaced,crds.enabled=false") as name:
        assert "WRONG" not in kube.helm("test", name, "--logs", "--timeout=60s")
        user = account(kube, name)
        assert can(kube, user, "list", "virtualtables.vdt.io", kube.namespace)
        assert not can(kube, user, "list", "virtualtables.vdt.io", "default")
        assert not can(kube, user, "get", "secrets", "default")
        assert not can(kube, user, "list", "nodes", "default")


def test_b29_a_wrong_value_stops_the_install(kube):
    with pytest.raises(Refused, match="additional properties 'replica' not allowed"):
        kube.helm("install", "wrong", CHART, "--set=replica=1", "--dry-run=client")


def test_b28_an_upgrade_brings_the_newer_definition_and_touches_no_table(kube, definitions, images, tmp_path):
    """A definition in a chart's `crds/` folder would stay as it was."""
    older = tmp_path / "vdt"
    shutil.copytree(CHART, older)
    file = older / "files" / "crds" / f"{CRD}.yaml"
    definition = yaml.safe_load(file.read_text())
    newest = definition["spec"]["versions"][0]
    wanted = copy.deepcopy(newest["schema"])
    del newest["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["retention"]
    file.write_text(yaml.safe_dump(definition))
    table = yaml.safe_load((GOOD / "hibernated.yaml").read_text())
    table["metadata"] = {"name": "old", "namespace": kube.namespace}

    def schema() -> dict:
        return kube.get("crd", CRD)["spec"]["versions"][0]["schema"]

    # Helm takes the fields over from the other manager that the tests' definition has.
    with release(kube, images, "--force-conflicts", chart=str(older)) as name:
        assert "retention" not in schema()["openAPIV3Schema"]["properties"]["spec"]["properties"]
        kube.apply(table)
        until("the table was looked at", lambda: kube.get("vt", "old")["status"]["observedGeneration"] == 1)
        kube.helm("upgrade", name, CHART, "--reuse-values", "--wait", "--timeout=90s")
        assert schema() == wanted
        assert kube.get("vt", "old")["metadata"]["generation"] == 1
