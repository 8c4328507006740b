"""Admission that rewrites what the operator sends: images of a mirror, CPU and memory of a policy."""

from __future__ import annotations

import json
import time

import pytest
from control_plane import wait
from tables import table, until, until_ready

SAME = {"cpu": "1", "memory": "1Gi"}
REWRITES = {
    "images": ("apps", "statefulsets", ["CREATE", "UPDATE"], {"/spec/template/spec/containers/0/image": "mirror.test/sidecar:1"}),
    "amounts": ("", "pods", ["CREATE"], {f"/spec/{kind}/0/resources": {"limits": SAME, "requests": SAME} for kind in ("containers", "initContainers")}),
}


@pytest.fixture
def rewritten(plane, namespace):
    """The namespace's StatefulSets have images of a mirror, and its pods requests that equal their limits."""
    made = []
    for name, (group, resource, operations, fields) in REWRITES.items():
        patches = ", ".join(f'JSONPatch{{op: "replace", path: "{path}", value: {json.dumps(value)}}}' for path, value in fields.items())
        policy = {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": operations, "resources": [resource]}],
            },
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patches}]"}}],
        }  # fmt: skip
        head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": f"{namespace}-{name}"}}
        made += [
            head | {"kind": "MutatingAdmissionPolicy", "spec": policy},
            head | {"kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": f"{namespace}-{name}"}},
        ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    plane.kubectl("apply", "-f", "-", stdin=text)
    labels = {"app": "probe"}
    probe = {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "probe"},
        "spec": {"serviceName": "probe", "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "one", "image": "one"}]}}},
    }  # fmt: skip
    dry = ("-n", namespace, "create", "--dry-run=server", "-o", "json", "-f", "-")
    wait("the policies hold", lambda: "mirror.test" in plane.kubectl(*dry, stdin=json.dumps(probe)), 30)
    time.sleep(1)
    yield namespace
    plane.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text)


def pods(api, namespace: str) -> dict[str, str]:
    return {one["metadata"]["uid"]: one["status"]["qosClass"] for one in api.list("Pod", namespace)}


def test_what_admission_makes_of_it_is_neither_fought_nor_rolled_for_ever(api, plane, operator, rewritten):
    operator.start()
    api.apply("VirtualTable", table(), rewritten)
    until_ready(api, rewritten)
    assert "mirror.test" in json.dumps(api.get("StatefulSet", "manuals", rewritten))
    time.sleep(8)
    before, mark = pods(api, rewritten), plane.mark()
    assert set(before.values()) == {"Guaranteed"}
    time.sleep(12)
    assert pods(api, rewritten) == before
    assert [one for one in plane.requests(mark, rewritten) if one[0] in ("patch", "delete")] == []
    # Drift is put back, but for the image.
    api.patch("StatefulSet", "manuals", {"spec": {"replicas": 5}}, rewritten)
    wait("it is put back", lambda: api.get("StatefulSet", "manuals", rewritten)["spec"]["replicas"] == 2, 5)
    wait("two pods are left", lambda: len(pods(api, rewritten)) == 2, 30)
    # A wish that these pods cannot have in place is one roll, and no second.
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"resources": {"server": {"requests": {"cpu": "123m"}}}}}}, rewritten)
    until(api, rewritten, "Reconciling", "True", "RollingOut")
    wait("pods are new", lambda: not before.keys() & pods(api, rewritten).keys(), 60)
    until_ready(api, rewritten, seconds=60)
    time.sleep(8)
    after, mark = pods(api, rewritten), plane.mark()
    time.sleep(12)
    assert pods(api, rewritten) == after
    assert [one for one in plane.requests(mark, rewritten) if one[0] in ("patch", "delete")] == []
