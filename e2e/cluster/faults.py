"""What goes wrong on this machine's cluster, on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.settings import API_SERVICE


def kill_container(machine, pod: dict, container: str) -> None:
    """SIGKILL of a container's process, as the kernel does it when memory is short."""
    statuses = pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]
    (identity,) = (one["containerID"].removeprefix("containerd://") for one in statuses if one["name"] == container)
    machine.node(pod["spec"]["nodeName"]).exec("ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", identity)


@contextmanager
def cut_off(machine, pod: dict) -> Iterator[None]:
    """A pod that the API server does not hear and that hears nothing of it; the kubelet and everybody else still do."""
    node = machine.node(pod["spec"]["nodeName"])
    address = pod["status"]["podIP"]
    # Before the Service's address is replaced by the API server's.
    rules = (
        "add table ip e2e-cut",
        "add chain ip e2e-cut pre { type filter hook prerouting priority -300 ; }",
        f"add rule ip e2e-cut pre ip saddr {address} ip daddr {API_SERVICE} drop",
    )
    for rule in rules:
        node.exec("nft", rule)
    try:
        yield
    finally:
        node.exec("nft", "delete table ip e2e-cut")
