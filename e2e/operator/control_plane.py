"""etcd, the API server and its controllers as processes of the host, on ports that nobody uses."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from lib.process import Process, free_ports, wait_until

BIN = Path(os.environ["KUBERNETES_BIN"])
OPERATOR = "system:serviceaccount:vdt-system:vdt-operator"
OF_ONE = "system:serviceaccount:vdt-one:vdt-operator"
"""The account of an operator of one namespace."""
BY_DEFAULT = "system:serviceaccount:vdt-default:vdt-operator"
"""The account of an operator with the rights of the chart's default values."""
GROUPS = {
    "VirtualTable": ("apis/vdt.io/v1alpha1", "virtualtables"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "Event": ("apis/events.k8s.io/v1", "events"),
    "Namespace": ("api/v1", "namespaces"),
    "Pod": ("api/v1", "pods"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Secret": ("api/v1", "secrets"),
    "Node": ("api/v1", "nodes"),
    "PersistentVolume": ("api/v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
}


def free_port() -> int:
    return free_ports(1)[0]


def wait(what: str, done, seconds: float = 30, pause: float = 0.1):
    """`wait_until` for what an API server is asked: a refusal is no answer yet."""

    def answered():
        try:
            return done()
        except ApiError:
            return None

    return wait_until(what, answered, seconds, pause)


class ApiError(Exception):
    def __init__(self, code: int, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


def process(log: Path, *args, env: dict | None = None) -> Process:
    """A child whose output is kept, with more in its environment than this process has."""
    return Process(list(args), log, {**os.environ, **(env or {})})


class Api:
    """Kubernetes' API as its administrator, by plain JSON."""

    def __init__(self, host: str, port: int, ca: Path, token: str = "admin"):
        self.host, self.port, self.token = host, port, token
        self.tls = ssl.create_default_context(cafile=str(ca))

    def call(self, method: str, path: str, body=None, kind: str = "application/json"):
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": "application/json"}
            connection.request(method, "/" + path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            try:
                text = json.loads(text).get("message", text)
            except ValueError:
                pass
            raise ApiError(answer.status, text)
        return json.loads(text) if text.startswith("{") else text

    @staticmethod
    def path(kind: str, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
        group, plural = GROUPS[kind]
        parts = [group]
        if namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(plural)
        if name:
            parts.append(quote(name))
        return "/".join(parts) + sub

    def get(self, kind: str, name: str, namespace: str | None = "docs"):
        try:
            return self.call("GET", self.path(kind, namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = "docs", **query):
        suffix = "?" + urlencode(query) if query else ""
        return self.call("GET", self.path(kind, namespace) + suffix)["items"]

    def create(self, kind: str, body: dict, namespace: str | None = "docs"):
        return self.call("POST", self.path(kind, namespace), body)

    def apply(self, kind: str, body: dict, namespace: str | None = "docs", manager: str = "kubectl"):
        path = self.path(kind, namespace, body["metadata"]["name"]) + f"?fieldManager={manager}&force=true"
        return self.call("PATCH", path, body, "application/apply-patch+yaml")

    def patch(self, kind: str, name: str, body: dict, namespace: str | None = "docs", sub: str = ""):
        return self.call("PATCH", self.path(kind, namespace, name, sub), body, "application/merge-patch+json")

    def resize(self, name: str, spec: dict, namespace: str):
        """Changes CPU and memory of a pod that runs, as an autoscaler does."""
        return self.call("PATCH", self.path("Pod", namespace, name, "/resize"), {"spec": spec}, "application/strategic-merge-patch+json")

    def delete(self, kind: str, name: str, namespace: str | None = "docs", body: dict | None = None):
        try:
            return self.call("DELETE", self.path(kind, namespace, name), body)
        except ApiError as error:
            if error.code != 404:
                raise


def decision(entry: dict) -> str:
    """What the roles said of a request of the audit log."""
    return entry.get("annotations", {}).get("authorization.k8s.io/decision", "")


class ControlPlane:
    def __init__(self, folder: Path):
        self.folder = folder
        self.port, self.etcd_port = free_port(), free_port()
        self.audit = folder / "audit.log"
        self.parts: list[Process] = []

    def start(self) -> ControlPlane:
        self._keys()
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        (self.folder / "tokens.csv").write_text(
            'admin,admin,admin,"system:masters"\n'
            f'operator,{OPERATOR},operator,"system:serviceaccounts,system:authenticated"\n'
            f'of-one,{OF_ONE},of-one,"system:serviceaccounts,system:authenticated"\n'
            f'by-default,{BY_DEFAULT},by-default,"system:serviceaccounts,system:authenticated"\n'
        )
        (self.folder / "audit.yaml").write_text(
            json.dumps(
                {
                    "apiVersion": "audit.k8s.io/v1",
                    "kind": "Policy",
                    "omitStages": ["RequestReceived"],
                    "rules": [{"level": "Metadata", "users": [OPERATOR, OF_ONE, BY_DEFAULT]}, {"level": "None"}],
                }
            )
        )
        self.parts.append(
            process(
                self.folder / "etcd.log", "etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", etcd,
                "--advertise-client-urls", etcd, "--listen-peer-urls", f"http://127.0.0.1:{free_port()}", "--unsafe-no-fsync",
            )
        )  # fmt: skip
        self.start_api()
        self.parts.append(
            process(
                self.folder / "controllers.log", BIN / "kube-controller-manager", f"--kubeconfig={self.kubeconfig('admin')}",
                f"--service-account-private-key-file={self.folder}/sa.key", f"--root-ca-file={self.folder}/ca.crt",
                "--leader-elect=false", f"--secure-port={free_port()}", "--bind-address=127.0.0.1",
            )
        )  # fmt: skip
        return self

    def start_api(self):
        f = self.folder
        self.server = process(
            f / "api.log", BIN / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", f"--secure-port={self.port}",
            "--bind-address=127.0.0.1", "--service-cluster-ip-range=10.77.0.0/16", "--authorization-mode=RBAC",
            f"--token-auth-file={f}/tokens.csv", f"--client-ca-file={f}/ca.crt", f"--tls-cert-file={f}/api.crt",
            f"--tls-private-key-file={f}/api.key", f"--service-account-key-file={f}/sa.pub", f"--service-account-signing-key-file={f}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc", f"--audit-policy-file={f}/audit.yaml",
            f"--audit-log-path={self.audit}", "--audit-log-mode=blocking",
        )  # fmt: skip
        self.api = Api("127.0.0.1", self.port, f / "ca.crt")

        def answers():
            try:
                return self.api.call("GET", "readyz") == "ok" and self.api.get("Namespace", "default", None)
            except OSError:
                return False

        wait("the API server answers", answers, 120)

    def _keys(self):
        def run(*args):
            subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.folder)

        run("genrsa", "-out", "sa.key", "2048")
        run("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "30")
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "api.key", "-out", "api.csr", "-subj", "/CN=kube-apiserver")
        (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1,IP:10.77.0.1,DNS:kubernetes.default.svc\n")
        run("x509", "-req", "-in", "api.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "api.crt", "-days", "30", "-extfile", "san")

    def kubeconfig(self, token: str, server: str | None = None) -> Path:
        path = self.folder / f"{token}-{(server or 'direct').rsplit(':', 1)[-1]}.kubeconfig"
        cluster = {"server": server} if server else {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": f"{self.folder}/ca.crt"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        # At once: a process that starts may read it while somebody asks for it again.
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(config))
        return whole.replace(path)

    def kubectl(self, *args: str, check: bool = True, stdin: str | None = None) -> str:
        out = subprocess.run(
            [BIN / "kubectl", f"--kubeconfig={self.kubeconfig('admin')}", *args], input=stdin, capture_output=True, text=True, check=False
        )
        assert not check or out.returncode == 0, f"kubectl {' '.join(args)}: {out.stderr}"
        return out.stdout + out.stderr

    def requests(self, since: int = 0, namespace: str | None = None) -> list[tuple[str, str, str, int]]:
        """What the operator asked for: verb, resource, name, code. Leases left out."""
        found = []
        for line in self.audit.read_text().splitlines()[since:]:
            entry = json.loads(line)
            about = entry.get("objectRef", {})
            if about.get("resource") == "leases" or namespace and about.get("namespace") != namespace:
                continue
            resource = "/".join(filter(None, [about.get("resource", ""), about.get("subresource")]))
            found.append((entry["verb"], resource, about.get("name", ""), entry["responseStatus"]["code"]))
        return found

    def entries(self, user: str = OPERATOR) -> list[dict]:
        """All that an account asked for."""
        entries = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [one for one in entries if one["user"]["username"] == user]

    def verbs(self, resource: str, since: float, user: str = OPERATOR) -> set[str]:
        """What an account asked of a resource since a moment, seconds since 1970."""
        asked = [one for one in self.entries(user) if one.get("objectRef", {}).get("resource") == resource]
        return {one["verb"] for one in asked if datetime.fromisoformat(one["requestReceivedTimestamp"]).timestamp() >= since}

    def forbidden(self, user: str = OPERATOR) -> list[str]:
        """What an account asked for and no role allows. (A namespace that goes refuses new objects with the same code.)"""
        return [f"{one['verb']} {one['requestURI']}" for one in self.entries(user) if decision(one) == "forbid"]

    def mark(self) -> int:
        return len(self.audit.read_text().splitlines())

    def stop(self):
        for part in [*reversed(self.parts), self.server]:
            part.kill()
