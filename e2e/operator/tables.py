"""Tables and questions about them."""

from __future__ import annotations

from datetime import datetime

from control_plane import wait


def table(name: str = "manuals", *, credentials: str | None = None, spec: dict | None = None, **server) -> dict:
    s3 = {"bucket": "corp", "prefix": "manuals/", "endpoint": "http://s3.test:8333"}
    if credentials:
        s3["credentials"] = {"secretRef": {"name": credentials}}
    else:
        s3["anonymous"] = True
    pods = {"state": {"type": "S3", "s3": {"bucket": "vdt-state"}}, "access": {"mode": "Anonymous"}, "replicas": 2, **server}
    return {
        "apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "metadata": {"name": name},
        "spec": {"sources": [{"name": "bucket", "type": "S3", "s3": s3}], "server": pods, **(spec or {})},
    }  # fmt: skip


def local_volume(namespace: str, host: str, ordinal: int, key: str = "kubernetes.io/hostname") -> dict:
    """The volume of a cache claim, on one host, which the label `key` of its node names."""
    terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": [host]}]}]
    return {
        "metadata": {"name": f"{namespace}-{ordinal}"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local-test", "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": "/mnt"}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            "claimRef": {"namespace": namespace, "name": f"cache-manuals-{ordinal}"},
        },
    }  # fmt: skip


def condition(found: dict | None, kind: str) -> dict:
    for one in (found or {}).get("status", {}).get("conditions", []):
        if one["type"] == kind:
            return one
    return {}


def is_ready(api, namespace: str, name: str = "manuals"):
    found = api.get("VirtualTable", name, namespace)
    settled = found and found["status"].get("observedGeneration") == found["metadata"]["generation"]
    return found if settled and condition(found, "Ready").get("status") == "True" else None


def until_ready(api, namespace: str, name: str = "manuals", seconds: float = 30):
    try:
        return wait(f"{name} is ready", lambda: is_ready(api, namespace, name), seconds)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {api.get('VirtualTable', name, namespace)['status']}") from None


def until(api, namespace: str, kind: str, status: str, reason: str, name: str = "manuals", seconds: float = 20):
    def holds():
        one = condition(api.get("VirtualTable", name, namespace), kind)
        return one if (one.get("status"), one.get("reason")) == (status, reason) else None

    try:
        return wait(f"{kind}={status}/{reason}", holds, seconds)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {api.get('VirtualTable', name, namespace)['status']}") from None


CHILDREN = [
    ("ServiceAccount", "{}"), ("ConfigMap", "{}-config-v1"), ("Service", "{}-peers"), ("Service", "{}"),
    ("PodDisruptionBudget", "{}"), ("StatefulSet", "{}"),
]  # fmt: skip


def children(api, namespace: str, name: str = "manuals") -> dict:
    return {(kind, pattern.format(name)): api.get(kind, pattern.format(name), namespace) for kind, pattern in CHILDREN}


def versions(api, namespace: str, name: str = "manuals") -> dict:
    """Versions of the children that change only when somebody writes them."""
    found = children(api, namespace, name)
    return {
        key: child and (child["metadata"]["uid"], child["metadata"].get("generation") or child["metadata"]["resourceVersion"])
        for key, child in found.items()
    }


def led_since(api) -> float:
    """When the one that leads began to, seconds since 1970 by its clock."""
    return datetime.fromisoformat(api.get("Lease", "vdt-operator-leader", "vdt-system")["spec"]["acquireTime"]).timestamp()


def holder(api) -> str:
    """Who leads, empty for nobody."""
    lease = api.get("Lease", "vdt-operator-leader", "vdt-system")
    return lease["spec"].get("holderIdentity", "") if lease else ""
