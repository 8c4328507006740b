"""What tests look at again and again is asked of the API server itself: a kubectl for each look would take more of two cores than what is tested.

`kubectl proxy` stands between, so that any kubeconfig will do.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

from lib.process import Process, wait_until

KINDS = {
    "configmap": ("api/v1", True, "configmaps"),
    "crd": ("apis/apiextensions.k8s.io/v1", False, "customresourcedefinitions"),
    "deployment": ("apis/apps/v1", True, "deployments"),
    "job": ("apis/batch/v1", True, "jobs"),
    "lease": ("apis/coordination.k8s.io/v1", True, "leases"),
    "node": ("api/v1", False, "nodes"),
    "pdb": ("apis/policy/v1", True, "poddisruptionbudgets"),
    "pod": ("api/v1", True, "pods"),
    "pvc": ("api/v1", True, "persistentvolumeclaims"),
    "secret": ("api/v1", True, "secrets"),
    "service": ("api/v1", True, "services"),
    "serviceaccount": ("api/v1", True, "serviceaccounts"),
    "statefulset": ("apis/apps/v1", True, "statefulsets"),
    "vt": ("apis/vdt.io/v1alpha1", True, "virtualtables"),
}
"""By kubectl's name: group and version, whether it lies in a namespace, and its name in paths."""


class Unanswered(Exception):
    """Nobody answered, or the API server said no: then `reason` is its word for why."""

    def __init__(self, text: str, reason: str = ""):
        super().__init__(text)
        self.reason = reason


class Api:
    """A running `kubectl proxy`, as the kubeconfig's user."""

    def __init__(self, kubeconfig: Path, kubectl: Path, folder: Path):
        log = folder / "kubectl-proxy.log"
        self.process = Process([kubectl, f"--kubeconfig={kubeconfig}", "proxy", "--port=0"], log)
        served = wait_until("kubectl proxy serves", lambda: re.search(r"serve on (127\.0\.0\.1:\d+)", self.process.output()), 30)
        self.address = f"http://{served[1]}"

    def stop(self) -> None:
        self.process.kill()

    def text(self, path: str) -> str:
        """The answer to a GET.

        Raises `Unanswered`.
        """
        return self._ask(urllib.request.Request(f"{self.address}/{path.removeprefix('/')}"))[0]

    def would_create(self, namespace: str, kind: str, manifest: str) -> list[str]:
        """Has the API server take a manifest as kubectl's `create --dry-run=server` does; returns its warnings.

        Raises `Unanswered`.
        """
        path = f"{self._path(namespace, kind)}?dryRun=All&fieldValidation=Strict"
        request = urllib.request.Request(f"{self.address}/{path}", manifest.encode(), {"Content-Type": "application/yaml"})
        return self._ask(request)[1]

    @staticmethod
    def _ask(request: urllib.request.Request) -> tuple[str, list[str]]:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read().decode(), answer.headers.get_all("Warning") or []
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            try:
                status = json.loads(said)
                raise Unanswered(status["message"], status.get("reason", "")) from None
            except (ValueError, TypeError, KeyError):
                raise Unanswered(f"{error.code} {said}") from None
        except OSError as error:
            raise Unanswered(str(error)) from None

    def get(self, namespace: str, kind: str, name: str = "", **query: str) -> dict:
        """An object, or without a name a list of them.

        Raises `Unanswered`.
        """
        path = self._path(namespace, kind) + (f"/{name}" if name else "")
        return json.loads(self.text(path + ("?" + urlencode(query) if query else "")))

    @staticmethod
    def _path(namespace: str, kind: str) -> str:
        group, namespaced, plural = KINDS[kind]
        return f"{group}/namespaces/{namespace}/{plural}" if namespaced else f"{group}/{plural}"
