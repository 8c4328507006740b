"""Local volumes made by hand, for a cluster without a provisioner: a class whose claims wait for their pod, and folders or small disks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.node import Node
from kube import Kube

FOLDER = "/var/lib/kubelet/e2e-local"


def path_of(class_name: str, number: int) -> str:
    """Where on its node a volume lies."""
    return f"{FOLDER}/{class_name}-{number}"


def volume(node: Node, class_name: str, number: int, capacity: str = "256Mi") -> dict:
    """A volume on a node, and its folder there."""
    path = path_of(class_name, number)
    node.exec("sh", "-ec", f"mkdir -p {path} && chmod 0777 {path}")
    on_node = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{class_name}-{node.name}-{number}", "labels": {"e2e": class_name}},
        "spec": {
            "capacity": {"storage": capacity}, "accessModes": ["ReadWriteOnce"], "storageClassName": class_name,
            "persistentVolumeReclaimPolicy": "Retain", "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [on_node]}},
        },
    }  # fmt: skip


@contextmanager
def storage_class(kube: Kube, nodes: dict[str, Node], *, each: int = 1, capacity: str = "256Mi", disk_mib: int | None = None) -> Iterator[str]:
    """A storage class with `each` volumes on every node: folders, or loop-mounted disks of `disk_mib` whatever their object promises."""
    name = kube.namespace
    mounted: list[tuple[Node, str]] = []
    objects = [
        {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
         "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"},
    ]  # fmt: skip
    for node in nodes.values():
        for number in range(each):
            if disk_mib:
                path = path_of(name, number)
                image = f"{path}.img"
                node.exec("sh", "-ec", f"mkdir -p {path} && truncate -s {disk_mib}M {image} && mkfs.ext4 -q -m 0 {image} && mount -o loop {image} {path}")
                mounted.append((node, path))
            objects.append(volume(node, name, number, capacity))
    try:
        kube.apply(*objects)
        yield name
    finally:
        kube("delete", "pv", "-l", f"e2e={name}", "--wait=false")
        kube("delete", "storageclass", name)
        for node, path in mounted:
            # Pods may still have it: the rest goes with the cluster.
            node.exec("umount", "-l", path, check=False)
