"""Check B26: the operator asks for nothing that it may not, and may nothing that it does not ask for.

What it asks for stands in the API server's audit log. The module runs last, so that the log is that of the whole run.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest
from conftest import SOON_SECONDS, Operator, fresh, grant
from control_plane import BY_DEFAULT, OF_ONE, OPERATOR, ApiError, decision, wait
from tables import local_volume, table, until, until_ready

RBAC = "apis/rbac.authorization.k8s.io/v1"
DEFINITIONS = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"

EVERYTHING = {
    "tls": {"mode": "CertManager", "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}},
    "networkPolicy": {"mode": "Restricted", "clientLabels": {"team": "data"}}, "monitoring": {"podMonitor": "Enabled"},
}  # fmt: skip


class Grant(NamedTuple):
    namespace: str
    """Of a Role; empty for a ClusterRole."""
    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()
    """Empty for all."""


def granted(api) -> set[Grant]:
    """What the chart's roles allow the operator's account."""
    found = set()
    for kind in ("clusterrolebindings", "rolebindings"):
        for binding in api.call("GET", f"{RBAC}/{kind}")["items"]:
            subjects = {(one["kind"], one.get("namespace"), one["name"]) for one in binding.get("subjects", [])}
            if ("ServiceAccount", "vdt-system", "vdt-operator") not in subjects:
                continue
            role, namespace = binding["roleRef"], binding["metadata"].get("namespace", "")
            path = "clusterroles" if role["kind"] == "ClusterRole" else f"namespaces/{namespace}/roles"
            for rule in api.call("GET", f"{RBAC}/{path}/{role['name']}")["rules"]:
                for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
                    found.add(Grant(namespace, group, resource, verb, tuple(rule.get("resourceNames", []))))
    return found


def verbs(entry: dict) -> set[str]:
    """What a request needs: a server-side apply that makes an object needs `create` beside `patch`, and has one line in the log."""
    makes = entry["verb"] == "patch" and entry["responseStatus"]["code"] == 201
    return {entry["verb"], "create"} if makes else {entry["verb"]}


def unused(grants: set[Grant], entries: list[dict]) -> set[Grant]:
    """The grants that no request of a log needed. One that several allow counts for the narrowest: what is needed in one namespace is no reason for all."""
    left, by_request = set(grants), {}
    for one in grants:
        by_request.setdefault((one.group, one.resource, one.verb), []).append(one)
    for entry in entries:
        about = entry.get("objectRef", {})
        resource = "/".join(filter(None, [about.get("resource"), about.get("subresource")]))
        for verb in verbs(entry):
            fitting = [
                one
                for one in by_request.get((about.get("apiGroup", ""), resource, verb), [])
                if one.namespace in ("", about.get("namespace")) and (not one.names or about.get("name") in one.names)
            ]
            if fitting:
                left.discard(min(fitting, key=lambda one: (not one.namespace, not one.names)))
    return left


def allowed(plane, user: str = OPERATOR) -> list[dict]:
    return [one for one in plane.entries(user) if decision(one) == "allow"]


@pytest.fixture
def definitions(api):
    """The kinds that not every cluster has, as far as anything here looks at them."""
    kinds = [("monitoring.coreos.com", "PodMonitor"), ("cert-manager.io", "Certificate")]
    made = []
    for group, kind in kinds:
        plural = f"{kind.lower()}s"
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
        names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
        spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
        api.call("POST", DEFINITIONS, {"metadata": {"name": f"{plural}.{group}"}, "spec": spec})
        made.append((f"{plural}.{group}", f"apis/{group}/v1/{plural}"))
    for _, path in made:
        wait(f"{path} is served", lambda path=path: "items" in api.call("GET", path))
    yield
    for name, _ in made:
        api.call("DELETE", f"{DEFINITIONS}/{name}")
    # Who starts before that sees kinds that are not there a moment later.
    for _, path in made:
        wait(f"{path} is gone", lambda path=path: is_gone(api, path))


def is_gone(api, path: str) -> bool:
    try:
        api.call("GET", path)
    except ApiError as error:
        return error.code == 404
    return False


@pytest.mark.timeout(300)
def test_b26_no_granted_verb_is_unused(api, plane, operator, namespace, definitions):
    """A table with everything that a table can have, through all that can happen to it, until nothing of that is left."""
    host = f"node-{namespace}"
    api.create("Node", {"metadata": {"name": host, "labels": {"kubernetes.io/hostname": host}}}, None)
    api.create("PersistentVolume", local_volume(namespace, host, 0), None)
    operator.start("--secrets-watch", "--leader-elect")
    volume = {"type": "PersistentVolumeClaim", "storageClassName": "local-test", "nodeLossGraceSeconds": 5}
    cache = {"disk": {"capacity": "1Gi", "volume": volume}}
    api.apply("VirtualTable", table(cache=cache, rollout={"cachePolicy": "Discard"}, **EVERYTHING), namespace)
    api.create("Secret", {"metadata": {"name": "manuals-tls", "annotations": {"cert-manager.io/certificate-name": "manuals-tls"}}, "stringData": {"tls.crt": "a", "tls.key": "b"}}, namespace)
    # Another one beside it: a state of its own, and a Secret that comes, goes and is told of a second time.
    api.apply("VirtualTable", table("other", credentials="corp-ro", replicas=1, state={"type": "Claim", "claim": {}}), namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound", "other")
    api.create("Secret", {"metadata": {"name": "corp-ro"}, "stringData": {"accessKeyId": "a", "secretAccessKey": "b"}}, namespace)
    until_ready(api, namespace, "other")
    api.delete("Secret", "corp-ro", namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound", "other", seconds=30)
    until_ready(api, namespace)

    # Memory changes in place, then pods are replaced.
    pods = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"resources": {"server": {"requests": {"memory": "300Mi"}}}}}}, namespace)
    until_ready(api, namespace)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"rollout": {"drainSeconds": 31}}}}, namespace)
    of_table = {"labelSelector": "app.kubernetes.io/instance=manuals"}
    wait("pods are new", lambda: len({p["metadata"]["uid"] for p in api.list("Pod", namespace, **of_table)} - pods) == 2, 60)
    until_ready(api, namespace)

    # A node goes, and a cache with it.
    claim = lambda: api.get("PersistentVolumeClaim", "cache-manuals-0", namespace)  # noqa: E731
    wait("the claim is bound", lambda: claim()["spec"].get("volumeName"), 20)
    uid = claim()["metadata"]["uid"]
    api.patch("Pod", "manuals-0", {"metadata": {"annotations": {"test/unplayed": "yes"}}}, namespace)
    conditions = [{"type": kind, "status": "False", "reason": "Unschedulable"} for kind in ("PodScheduled", "Ready")]
    api.patch("Pod", "manuals-0", {"status": {"phase": "Pending", "conditions": conditions}}, namespace, "/status")
    until(api, namespace, "Reconciling", "True", "Unschedulable")
    api.delete("Node", host, None)
    wait("the claim is made anew", lambda: (claim() or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid, 40)
    until_ready(api, namespace, seconds=40)

    # Less and less of it, and what another version of the operator has left behind.
    less = {"cache": {"disk": {"capacity": "1Gi", "volume": {"type": "EmptyDir"}}}, "rollout": {"cachePolicy": "Discard"}, "serviceAccountName": "default"}
    api.apply("VirtualTable", table(replicas=1, **less), namespace)
    kept = {name: api.get("Service", "manuals", namespace)["metadata"][name] for name in ("labels", "ownerReferences")}
    for kind, body in (("ConfigMap", {}), ("Service", {"spec": {"ports": [{"port": 80}]}})):
        api.create(kind, {"metadata": {"name": "manuals-other", **kept}, **body}, namespace)
    left = [
        api.path("PodDisruptionBudget", namespace, "manuals"), api.path("NetworkPolicy", namespace, "manuals"), api.path("ServiceAccount", namespace, "manuals"),
        api.path("ConfigMap", namespace, "manuals-other"), api.path("Service", namespace, "manuals-other"),
        f"apis/monitoring.coreos.com/v1/namespaces/{namespace}/podmonitors/manuals", f"apis/cert-manager.io/v1/namespaces/{namespace}/certificates/manuals-tls",
    ]  # fmt: skip
    for path in left:
        wait(f"{path} is gone", lambda path=path: is_gone(api, path), 60)
    until_ready(api, namespace, seconds=60)
    api.delete("PersistentVolume", f"{namespace}-0", None)

    grants, entries = granted(api), allowed(plane)
    assert len(grants) > 50
    assert unused(grants, entries) == set()
    # It would tell of one.
    for more in (Grant("", "", "pods", "create"), Grant("", "coordination.k8s.io", "leases", "get"), Grant("vdt-system", "", "secrets", "get", ("other",))):
        assert unused(grants | {more}, entries) == {more}


def test_b17_what_not_every_cluster_has_is_put_back(api, operator, namespace, definitions):
    operator.start()
    api.apply("VirtualTable", table(**EVERYTHING), namespace)
    paths = [f"apis/monitoring.coreos.com/v1/namespaces/{namespace}/podmonitors/manuals", f"apis/cert-manager.io/v1/namespaces/{namespace}/certificates/manuals-tls"]
    merge = "application/merge-patch+json"
    for path in paths:
        made = wait(f"{path} is there", lambda path=path: None if is_gone(api, path) else api.call("GET", path), SOON_SECONDS)
        spec = made["spec"]
        field = next(name for name, value in spec.items() if isinstance(value, list))
        api.call("PATCH", path, {"spec": {field: []}}, merge)
        wait(f"{path} is put back", lambda path=path, spec=spec: api.call("GET", path)["spec"] == spec, SOON_SECONDS)
        api.call("DELETE", path)
        wait(f"{path} is made anew", lambda path=path: not is_gone(api, path), SOON_SECONDS)
    api.delete("VirtualTable", "manuals", namespace)
    for path in paths:
        wait(f"{path} goes", lambda path=path: is_gone(api, path), 30)


def test_b26_nothing_is_forbidden(plane, operator, api, namespace):
    """Of everything that was asked for in this whole run, nothing was."""
    operator.start("--secrets-watch")
    api.apply("VirtualTable", table(credentials="corp-ro"), namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound")
    assert plane.forbidden() == []


@pytest.fixture
def by_default(api, plane, pods, namespace, tmp_path):
    """An operator with an account and a namespace of its own, and the rights of the chart's default values."""
    fresh(pods)
    api.create("Namespace", {"metadata": {"name": "vdt-default"}}, None)
    grant(plane, "vdt-default")
    operator = Operator(plane, pods, tmp_path, plane.kubeconfig("by-default"))
    yield operator
    operator.stop()
    api.delete("Namespace", "vdt-default", None)


def test_b26_by_default_no_secrets_are_listed_and_nothing_is_forbidden(api, plane, by_default, namespace):
    """A table whose Secret comes, changes, goes and comes back."""
    by_default.start("--leader-elect", env={"POD_NAMESPACE": "vdt-default"})
    secret = {"metadata": {"name": "corp-ro"}, "stringData": {"accessKeyId": "a", "secretAccessKey": "b"}}
    api.apply("VirtualTable", table(credentials="corp-ro"), namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound")
    api.create("Secret", secret, namespace)
    until_ready(api, namespace)
    api.delete("Secret", "corp-ro", namespace)
    # What is there is believed to be there until the spec changes.
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"disruption": {"maxUnavailable": 2}}}}, namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound")
    api.create("Secret", secret, namespace)
    until_ready(api, namespace)
    assert plane.forbidden(BY_DEFAULT) == []
    # The key of its tokens is a Secret that it makes.
    assert plane.verbs("secrets", 0, BY_DEFAULT) == {"get", "create"}
    assert len(allowed(plane, BY_DEFAULT)) > 50


@pytest.fixture
def of_one(api, plane, pods, namespace, tmp_path):
    """An operator of one namespace, with an account and a namespace of its own, and Roles only."""
    fresh(pods)
    api.create("Namespace", {"metadata": {"name": "vdt-one"}}, None)
    grant(plane, "vdt-one", "secrets.watch=true", "scope=Namespaced", f"watchNamespace={namespace}")
    operator = Operator(plane, pods, tmp_path, plane.kubeconfig("of-one"))
    yield operator
    operator.stop()
    api.delete("Namespace", "vdt-one", None)


@pytest.mark.timeout(240)
def test_b26_an_operator_of_one_namespace_asks_for_nothing_elsewhere(api, plane, of_one, namespace, definitions):
    """A table with a cache on claims, TLS, a policy and a monitor: made, told of a Secret, changed, stuck, made small."""
    of_one.start(f"--namespace={namespace}", "--secrets-watch", "--leader-elect", env={"POD_NAMESPACE": "vdt-one"})
    volume = {"type": "PersistentVolumeClaim", "storageClassName": "local-test", "nodeLossGraceSeconds": 5}
    cache = {"disk": {"capacity": "1Gi", "volume": volume}}
    api.apply("VirtualTable", table(), "default")
    api.apply("VirtualTable", table(credentials="corp-ro", cache=cache, **EVERYTHING), namespace)
    api.create("Secret", {"metadata": {"name": "manuals-tls", "annotations": {"cert-manager.io/certificate-name": "manuals-tls"}}, "stringData": {"tls.crt": "a", "tls.key": "b"}}, namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound")
    api.create("Secret", {"metadata": {"name": "corp-ro"}, "stringData": {"accessKeyId": "a", "secretAccessKey": "b"}}, namespace)
    until_ready(api, namespace)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"resources": {"server": {"requests": {"memory": "300Mi"}}}}}}, namespace)
    until_ready(api, namespace)
    # A lost node, as it looks to one who sees no nodes.
    api.patch("Pod", "manuals-0", {"metadata": {"annotations": {"test/unplayed": "yes"}}}, namespace)
    conditions = [{"type": kind, "status": "False", "reason": "Unschedulable"} for kind in ("PodScheduled", "Ready")]
    api.patch("Pod", "manuals-0", {"status": {"phase": "Pending", "conditions": conditions}}, namespace, "/status")
    until(api, namespace, "Reconciling", "True", "Unschedulable")
    api.delete("Pod", "manuals-0", namespace)
    less = {"cache": {"disk": {"capacity": "1Gi", "volume": {"type": "EmptyDir"}}}, "rollout": {"cachePolicy": "Discard"}, "serviceAccountName": "default"}
    api.apply("VirtualTable", table(replicas=1, **less), namespace)
    for kind in ("PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"):
        wait(f"{kind} is gone", lambda kind=kind: api.get(kind, "manuals", namespace) is None, 60)
    until_ready(api, namespace, seconds=60)

    assert plane.forbidden(OF_ONE) == []
    asked = [one for one in plane.entries(OF_ONE) if "resource" in one.get("objectRef", {})]
    assert len([one for one in asked if decision(one) == "allow"]) > 50
    elsewhere = {f"{one['verb']} {one['requestURI']}" for one in asked if one["objectRef"].get("namespace") not in (namespace, "vdt-one")}
    assert elsewhere == set()
    assert api.get("VirtualTable", "manuals", "default")["status"]["observedGeneration"] == -1
    api.delete("VirtualTable", "manuals", "default")
