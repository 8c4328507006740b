"""Readers inside the cluster: a Job that reads everything once, and a pod that reads without pause."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kube import Kube, Refused, until
from measured import NUMBERS
from table import DATA_PORT, Table

INSIDE = Path(__file__).parent / "inside"
WORKERS = 4
READERS_NODE = None if os.environ.get("E2E_KUBECONFIG") else "n1"
"""Our first node, which no test takes away."""


def pod_spec(image: str, args: list[str], scripts: str, node: str | None = None) -> dict:
    """A pod of the restricted standard that runs one of the scripts below `inside`, which a ConfigMap holds."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "args": args,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "scripts", "mountPath": "/scripts"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "scripts", "configMap": {"name": scripts}}],
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return spec


def scripts(kube: Kube, name: str, **files: str) -> None:
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files})


def read(table: Table, image: str, client: str = "polars", keys: tuple[str, str] | None = None) -> dict[str, str]:
    """A Job that reads the table whole through its Service: the SHA-256 of each artifact by its name."""
    name = f"read-{uuid.uuid4().hex[:6]}"
    kube = table.kube
    scripts(kube, "readers", **{"read.py": (INSIDE / "read.py").read_text()})
    args = ["/scripts/read.py", client, table.endpoint, f"s3://{table.path}", *(keys or ())]
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(image, args, "readers")}
    kube.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}})

    def ended() -> str | None:
        status = kube.get("job", name).get("status", {})
        return next((one["type"] for one in status.get("conditions", []) if one["status"] == "True" and one["type"] in ("Complete", "Failed")), None)

    outcome = until(f"Job {name}", ended, seconds=90)
    said = kube("logs", f"job/{name}")
    assert outcome == "Complete", said
    return json.loads(said)


@dataclass
class Load:
    """The pod that reads without pause."""

    kube: Kube
    name: str

    def told(self, path: str = "") -> dict:
        """Counts since it began; `slowest` and `longest_gap` (seconds) since the last window began."""
        return json.loads(self.kube.raw(f"/api/v1/namespaces/{self.kube.namespace}/pods/{self.name}:8000/proxy/{path}"))

    def goes_on(self, *, reads: int = 50, seconds: float = 30) -> None:
        """Waits until so many more reads have gone well: what happens next meets readers, and what happened is over for them."""
        enough = self.told()["reads"] + reads
        until(f"{reads} more reads", lambda: self.told()["reads"] >= enough, seconds=seconds)

    def began(self) -> Window:
        self.goes_on()
        return Window(self, self.told("anew"))


@dataclass
class Window:
    """What readers met since a moment."""

    load: Load
    before: dict

    def ends(self) -> dict:
        """The counts of this window."""
        self.load.goes_on()
        after = self.load.told()
        found = {name: after[name] - self.before[name] for name in ("reads", "failed", "lost", "wrong", "reconnects")}
        found["failures"] = [one for one in after["failures"] if one[0] > self.before["now"]]
        found["seconds"] = after["now"] - self.before["now"]
        found |= {name: after[name] for name in ("slowest", "longest_gap")}
        NUMBERS.read(found)
        return found

    def is_clean(self) -> dict:
        """Nothing failed, not even once, and no byte was wrong."""
        found = self.ends()
        assert found["wrong"] == 0, found
        assert found["failed"] == 0, found
        return found

    def lost_nothing(self) -> dict:
        """No byte was wrong, and every read was answered in the end: a process that is killed takes its connections with it, and clients ask again."""
        found = self.ends()
        assert found["wrong"] == 0, found
        assert found["lost"] == 0, found
        return found


@contextmanager
def load(table: Table, image: str, expected: dict[str, str], *, node: str | None = READERS_NODE, workers: int = WORKERS) -> Iterator[Load]:
    """Readers that read all the time."""
    kube, name = table.kube, f"load-{uuid.uuid4().hex[:6]}"
    programs = {file: (INSIDE / file).read_text() for file in ("load.py", "connections.py")}
    files = programs | {"expected.json": json.dumps(expected)}
    scripts(kube, name, **files)
    pods = [pod["status"]["podIP"] for pod in table.pods().values()]
    args = ["/scripts/load.py", table.host, str(DATA_PORT), table.path, "/scripts/expected.json", str(workers), *pods]
    spec = pod_spec(image, args, name, node)
    kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
    readers = Load(kube, name)

    def reads() -> bool:
        if kube.get("pod", name)["status"]["phase"] in ("Failed", "Succeeded"):
            raise AssertionError(kube("logs", name))
        try:
            return readers.told()["reads"] > 0
        except Refused:
            return False

    began = time.monotonic()
    until("the readers read", reads, seconds=90)
    print(f"readers began after {time.monotonic() - began:.1f} s")
    try:
        yield readers
    finally:
        kube("delete", "pod", name, "--wait=false")
