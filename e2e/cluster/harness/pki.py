"""Certificates and kubeconfigs of a cluster, by the openssl command. Kept between runs: making them takes a second."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

from .settings import API_SERVICE, Settings

DAYS = "30"
KEEP_SECONDS = 20 * 86_400
"""A set of this age is made anew, well before it expires."""


def openssl(*args: str | Path, cwd: Path) -> None:
    out = subprocess.run(["openssl", *map(str, args)], cwd=cwd, capture_output=True, text=True, check=False)
    if out.returncode != 0:
        raise RuntimeError(f"openssl {args[0]} failed: {out.stderr}")


def key(name: str, cwd: Path) -> None:
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{name}.key", cwd=cwd)


def authority(name: str, cwd: Path) -> None:
    key(name, cwd)
    openssl(
        "req", "-x509", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-days", DAYS, "-out", f"{name}.crt",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign", cwd=cwd,
    )  # fmt: skip


def certificate(name: str, ca: str, subject: str, usage: str, alternatives: list[str], cwd: Path) -> None:
    key(name, cwd)
    openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr", cwd=cwd)
    extensions = [f"extendedKeyUsage={usage}", "keyUsage=critical,digitalSignature"]
    if alternatives:
        extensions.append("subjectAltName=" + ",".join(alternatives))
    (cwd / f"{name}.ext").write_text("\n".join(extensions) + "\n")
    openssl(
        "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial",
        "-days", DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.crt", cwd=cwd,
    )  # fmt: skip


def kubeconfig(name: str, settings: Settings) -> None:
    """`<name>.kubeconfig` beside `<name>.crt`."""
    pki = settings.pki

    def inline(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    (pki / f"{name}.kubeconfig").write_text(
        f"""apiVersion: v1
kind: Config
clusters:
- name: {settings.prefix}
  cluster: {{server: "{settings.api}", certificate-authority-data: {inline("ca.crt")}}}
users:
- name: {name}
  user: {{client-certificate-data: {inline(name + ".crt")}, client-key-data: {inline(name + ".key")}}}
contexts:
- name: {settings.prefix}
  context: {{cluster: {settings.prefix}, user: {name}}}
current-context: {settings.prefix}
"""
    )
    os.chmod(pki / f"{name}.kubeconfig", 0o600)


def ensure(settings: Settings) -> None:
    """Makes what is missing; a set for other nodes or another network is replaced."""
    import time

    pki = settings.pki
    wanted = f"{settings.nodes} nodes, {settings.network}, {settings.prefix}\n"
    stamp = pki / "stamp"
    if stamp.exists() and stamp.read_text() == wanted and time.time() - stamp.stat().st_mtime < KEEP_SECONDS:
        return
    shutil.rmtree(pki, ignore_errors=True)
    pki.mkdir(parents=True, mode=0o700)
    authority("ca", pki)
    authority("front-proxy-ca", pki)
    domain = "kubernetes.default.svc.cluster.local"
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", domain]
    # The machine's own address on the bridge too: a proxy in front of the API server listens there.
    addresses = [API_SERVICE, "127.0.0.1", settings.address("n1"), f"{settings.network}.1"]
    certificate(
        "apiserver", "ca", "/CN=kube-apiserver", "serverAuth",
        [f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses], pki,
    )  # fmt: skip
    clients = {
        "admin": "/O=system:masters/CN=admin",
        "controller-manager": "/CN=system:kube-controller-manager",
        "scheduler": "/CN=system:kube-scheduler",
        "proxy": "/CN=system:kube-proxy",
        "kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
    }
    for name, subject in clients.items():
        certificate(name, "ca", subject, "clientAuth", [], pki)
    certificate("front-proxy-client", "front-proxy-ca", "/CN=front-proxy-client", "clientAuth", [], pki)
    # For the stand-in of metrics.k8s.io (metrics.py).
    certificate("metrics", "ca", "/CN=metrics", "serverAuth", ["DNS:metrics.kube-system.svc"], pki)
    for node in settings.names():
        certificate(
            f"kubelet-{node}", "ca", f"/O=system:nodes/CN=system:node:{node}", "clientAuth,serverAuth",
            [f"DNS:{node}", f"IP:{settings.address(node)}"], pki,
        )  # fmt: skip
        kubeconfig(f"kubelet-{node}", settings)
    for name in ("admin", "controller-manager", "scheduler", "proxy"):
        kubeconfig(name, settings)
    openssl("genrsa", "-out", "sa.key", "2048", cwd=pki)
    openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub", cwd=pki)
    stamp.write_text(wanted)
