"""The components: etcd, the API server and its controllers on the first node, kubelet and kube-proxy on each."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from lib.process import wait_until

from .node import Node
from .settings import SERVICES, Settings

AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # The cluster's own machinery and the test's kubectl are not what is asked about.
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {
            "level": "None",
            "users": [
                "admin", "system:anonymous", "system:apiserver", "system:kube-scheduler",
                "system:kube-controller-manager", "system:kube-proxy", "kube-apiserver-kubelet-client",
            ],
        },  # fmt: skip
        {"level": "Metadata"},
    ],
}


def wait(what: str, done: Callable[[], bool], *, seconds: float = 60) -> None:
    """A cluster on loaded cores takes several times as long as on idle ones."""
    wait_until(what, done, seconds, every=0.1)


def kubectl(settings: Settings, *args: str, check: bool = True) -> str:
    """Runs the cluster's own kubectl as its administrator and returns what it prints."""
    out = subprocess.run(
        [settings.bin / "kubectl", "--kubeconfig", settings.kubeconfig, *args], capture_output=True, text=True, check=False
    )
    if check and out.returncode != 0:
        raise RuntimeError(f"kubectl {' '.join(args)}: {out.stderr}")
    return out.stdout


def start_containerd(node: Node) -> None:
    node.spawn("containerd", "containerd")


def start_control_plane(settings: Settings, node: Node) -> None:
    """etcd and the API server, then, when that answers, its controllers and the scheduler."""
    pki, own = settings.pki, settings.address(node.name)
    etcd = "http://127.0.0.1:2379"
    node.spawn(
        "etcd", "etcd", "--data-dir", "/var/lib/etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
        "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync",
    )  # fmt: skip
    policy = node.folder / "audit.json"
    policy.write_text(json.dumps(AUDIT))
    flags = {
        "etcd-servers": etcd,
        "advertise-address": own,
        "secure-port": "6443",
        "service-cluster-ip-range": SERVICES,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": f"{pki}/ca.crt",
        "tls-cert-file": f"{pki}/apiserver.crt",
        "tls-private-key-file": f"{pki}/apiserver.key",
        "service-account-key-file": f"{pki}/sa.pub",
        "service-account-signing-key-file": f"{pki}/sa.key",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-client-certificate": f"{pki}/kubelet-client.crt",
        "kubelet-client-key": f"{pki}/kubelet-client.key",
        "kubelet-certificate-authority": f"{pki}/ca.crt",
        # Aggregated APIs: the stand-in of metrics.k8s.io.
        "requestheader-client-ca-file": f"{pki}/front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "proxy-client-cert-file": f"{pki}/front-proxy-client.crt",
        "proxy-client-key-file": f"{pki}/front-proxy-client.key",
        # Blocking, so that a test that has its answer finds it in the log.
        "audit-policy-file": str(policy),
        "audit-log-path": str(settings.audit_log),
        "audit-log-mode": "blocking",
    }
    node.spawn("kube-apiserver", settings.bin / "kube-apiserver", *(f"--{k}={v}" for k, v in flags.items()))
    wait("the API server", lambda: kubectl(settings, "get", "--raw", "/readyz", check=False) == "ok")

    manager = f"{pki}/controller-manager.kubeconfig"
    node.spawn(
        "kube-controller-manager", settings.bin / "kube-controller-manager",
        f"--kubeconfig={manager}", f"--authentication-kubeconfig={manager}", f"--authorization-kubeconfig={manager}",
        f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials=true", "--leader-elect=false", "--bind-address=127.0.0.1",
        "--allocate-node-cidrs=false", f"--service-cluster-ip-range={SERVICES}",
        "--node-monitor-period=1s", "--node-monitor-grace-period=20s",
    )  # fmt: skip
    scheduler = f"{pki}/scheduler.kubeconfig"
    node.spawn(
        "kube-scheduler", settings.bin / "kube-scheduler", f"--kubeconfig={scheduler}",
        f"--authentication-kubeconfig={scheduler}", f"--authorization-kubeconfig={scheduler}",
        "--leader-elect=false", "--bind-address=127.0.0.1",
    )  # fmt: skip


def start_node_agents(settings: Settings, node: Node) -> None:
    node.spawn(
        "kubelet", settings.bin / "kubelet", f"--config={node.folder}/kubelet.json",
        f"--kubeconfig={settings.pki}/kubelet-{node.name}.kubeconfig", f"--hostname-override={node.name}",
        f"--node-ip={settings.address(node.name)}", "--v=2",
    )  # fmt: skip
    node.spawn("kube-proxy", settings.bin / "kube-proxy", f"--config={node.folder}/proxy.json")


def nodes_ready(settings: Settings) -> bool:
    lines = kubectl(settings, "get", "nodes", "--no-headers", check=False).splitlines()
    return sum(line.split()[1] == "Ready" for line in lines) == settings.nodes


def deploy(settings: Settings, manifest: Path) -> None:
    """Applies a manifest of the harness and waits for its Deployments."""
    kubectl(settings, "apply", "--server-side", "-f", str(manifest))
    kubectl(settings, "-n", "kube-system", "rollout", "status", "deployment", "--timeout=60s")
