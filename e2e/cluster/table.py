"""A VirtualTable in the cluster: what a test applies, and what it asks of the object and its pods."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kube import Kube, Refused, until

DATA_PORT = 8080
ADMIN_PORT = 8081
DRAIN_SECONDS = 5
"""Shorter than the default: a roll of two pods is waited for in every test of them."""


def manifest(name: str, sources: list[dict], state: dict, *, refresh_seconds: int = 0, **server) -> dict:
    """A table that everybody may read, with small caches; refreshed when asked, unless it says how often."""
    cache = {"memory": {"capacity": "64Mi"}, "disk": {"capacity": "256Mi"}}
    defaults = {"replicas": 2, "access": {"mode": "Anonymous"}, "cache": cache, "rollout": {"drainSeconds": DRAIN_SECONDS}}
    # Debug binaries on two cores: what they ask for must leave room for every other pod of the node.
    few = {"requests": {"cpu": "20m", "memory": "64Mi"}}
    defaults["resources"] = {"server": few, "sidecar": few}
    return {
        "apiVersion": "vdt.io/v1alpha1",
        "kind": "VirtualTable",
        "metadata": {"name": name},
        "spec": {
            "table": {"catalog": "main", "schema": "docs", "name": name},
            "sources": sources,
            "refresh": {"intervalSeconds": refresh_seconds, "settleSeconds": 0},
            "server": defaults | {"state": state} | server,
        },
    }


@dataclass
class Table:
    """A table by its object."""

    kube: Kube
    name: str
    applied_at: float = field(default=0.0)

    def apply(self, wanted: dict) -> Table:
        self.applied_at = time.monotonic()
        self.kube.apply(wanted)
        return self

    def patch(self, spec: dict) -> None:
        self.kube("patch", "vt", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    @property
    def object(self) -> dict:
        return self.kube.get("vt", self.name)

    def condition(self, kind: str) -> dict:
        conditions = self.object.get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def until(self, kind: str, status: str, reason: str | None = None, *, seconds: float = 60) -> dict:
        """Waits until a condition of the latest generation says so, and returns it."""

        def said() -> dict | None:
            found = self.object
            for one in found.get("status", {}).get("conditions", []):
                newest = one.get("observedGeneration") == found["metadata"]["generation"]
                if one["type"] == kind and one["status"] == status and newest and reason in (None, one["reason"]):
                    return one
            return None

        return until(f"{kind}={status} {reason or ''} of {self.name}", said, seconds=seconds)

    def ready(self, *, seconds: float = 90) -> float:
        """Waits until it serves what was applied last with every pod; returns the seconds since `apply`."""
        self.until("Ready", "True", "Serving", seconds=seconds)
        took = time.monotonic() - self.applied_at

        def all_serve() -> bool:
            status, spec = self.object["status"], self.object["spec"]["server"]
            return status.get("updatedReplicas") == status.get("readyReplicas") == status.get("replicas") == spec.get("replicas", 1)

        until(f"all pods of {self.name}", all_serve, seconds=seconds)
        return took

    def pods(self) -> dict[str, dict]:
        """Pods by name that are not on their way out."""
        items = self.kube.list("pod", f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component=server")
        return {pod["metadata"]["name"]: pod for pod in items if "deletionTimestamp" not in pod["metadata"]}

    def uids(self) -> dict[str, str]:
        return {name: pod["metadata"]["uid"] for name, pod in self.pods().items()}

    @property
    def host(self) -> str:
        return f"{self.name}.{self.kube.namespace}.svc.cluster.local"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{DATA_PORT}"

    @property
    def path(self) -> str:
        return f"main/docs/{self.name}"

    def metrics(self, pod: str) -> dict[str, float]:
        """Sums of a pod's metrics by their names: everybody may ask, so the API server does it for us."""
        text = self.kube.raw(f"/api/v1/namespaces/{self.kube.namespace}/pods/{pod}:{ADMIN_PORT}/proxy/metrics")
        sums: dict[str, float] = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = re.split(r"[{ ]", name, maxsplit=1)[0]
                sums[name] = sums.get(name, 0) + float(value)
        return sums

    def lookups(self, *pods: str) -> tuple[float, float]:
        """Lookups that the caches of the pods (of all, unless named) answered, and those that went to the server."""
        hits = misses = 0.0
        for pod in pods or self.pods():
            found = self.metrics(pod)
            hits += found.get("vdt_cache_lookup_hits_total", 0)
            misses += found.get("vdt_cache_lookup_misses_total", 0)
        return hits, misses

    @contextmanager
    def admin(self, pod: str | None = None) -> Iterator[str]:
        """The address of a pod's admin API, opened by `kubectl port-forward` as a user would."""
        pod = pod or next(iter(self.pods()))
        forward = subprocess.Popen(
            [self.kube.bin / "kubectl", "-n", self.kube.namespace, "port-forward", f"pod/{pod}", f":{ADMIN_PORT}"],
            env=self.kube.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            line = forward.stdout.readline()
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if match is None:
                raise Refused(("port-forward", pod), line)
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            forward.terminate()
            forward.wait(10)

    def refresh(self, pod: str | None = None) -> list[dict]:
        """Asks one pod for a refresh and waits for its end.

        Raises `urllib.error.HTTPError` when it fails.
        """
        with self.admin(pod) as address:
            request = urllib.request.Request(f"{address}/refresh?table={self.path}&wait=true", method="POST")
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
