"""The cluster as tests see it: kubectl behind a few verbs, looks past it, and what is kept of a test that fails."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from api import Api, Unanswered
from lib.process import wait_until

T = TypeVar("T")

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


class Refused(Exception):
    """kubectl, or the API server through it, said no."""

    def __init__(self, args: tuple[str, ...], stderr: str):
        super().__init__(f"kubectl {' '.join(args)}: {stderr.strip()}")
        self.stderr = stderr


@dataclass(frozen=True)
class Kube:
    """One cluster by its kubeconfig, in one namespace."""

    kubeconfig: Path
    bin: Path
    api: Api
    namespace: str = "default"

    def within(self, namespace: str) -> Kube:
        return Kube(self.kubeconfig, self.bin, self.api, namespace)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def __call__(self, *args: str, stdin: str | None = None, seconds: float = 120) -> str:
        """Runs kubectl and returns what it prints.

        Raises `Refused` when it fails.
        """
        out = subprocess.run(
            [self.bin / "kubectl", "-n", self.namespace, *args], input=stdin, env=self.environment,
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        if out.returncode != 0:
            raise Refused(args, out.stderr)
        return out.stdout

    def helm(self, *args: str, seconds: float = 180) -> str:
        out = subprocess.run(
            [self.bin / "helm", "--namespace", self.namespace, *args], env=self.environment,
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        if out.returncode != 0:
            raise Refused(("helm", *args), out.stdout + out.stderr)
        return out.stdout

    def apply(self, *objects: dict, dry_run: bool = False) -> None:
        """Server-side apply."""
        more = ["--dry-run=server"] if dry_run else []
        self("apply", "--server-side", "--field-manager=e2e", *more, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def create(self, *objects: dict, dry_run: bool = False) -> None:
        more = ["--dry-run=server"] if dry_run else []
        self("create", *more, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, kind: str, name: str) -> dict:
        """Raises `Refused` as the verbs do."""
        try:
            return self.api.get(self.namespace, kind, name)
        except Unanswered as why:
            raise Refused(("get", kind, name), f"{why.reason}: {why}") from None

    def raw(self, path: str) -> str:
        """What a path of the API answers.

        Raises `Refused`.
        """
        try:
            return self.api.text(path)
        except Unanswered as why:
            raise Refused(("get", "--raw", path), f"{why.reason}: {why}") from None

    def try_get(self, kind: str, name: str) -> dict | None:
        """The object, or None: it does not exist, or nobody answers."""
        try:
            return self.get(kind, name)
        except Refused:
            return None

    def patch(self, kind: str, name: str, patch: dict) -> None:
        self("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def list(self, kind: str, selector: str = "") -> list[dict]:
        """Raises `Refused`."""
        try:
            return self.api.get(self.namespace, kind, labelSelector=selector)["items"]
        except Unanswered as why:
            raise Refused(("get", kind, "-l", selector), f"{why.reason}: {why}") from None

    def exists(self, kind: str, name: str) -> bool:
        try:
            self.get(kind, name)
        except Refused as refused:
            if "NotFound" in refused.stderr:
                return False
            raise
        return True

    def wait(self, what: str, condition: str, *, seconds: int = 60) -> None:
        self("wait", what, f"--for={condition}", f"--timeout={seconds}s", seconds=seconds + 10)


def until(what: str, probe: Callable[[], T], *, seconds: float = 60) -> T:
    """`wait_until` for what an API server is asked: not as often as that can be done, for the answers take of the cores of what is waited for."""
    return wait_until(what, probe, seconds, every=0.1)


@contextmanager
def namespace(kube: Kube, name: str, labels: dict[str, str] = RESTRICTED) -> Iterator[Kube]:
    """A namespace that pods of the restricted standard may run in; its deletion is not waited for."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    inside = kube.within(name)
    until(f"service account of {name}", lambda: inside.exists("serviceaccount", "default"))
    try:
        yield inside
    finally:
        kube("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def keep(kube: Kube, folder: Path) -> None:
    """Writes what explains a failure in a namespace: objects, events, and logs of every container, also of the last run."""
    folder.mkdir(parents=True, exist_ok=True)

    def save(name: str, *args: str) -> str:
        try:
            text = kube(*args)
        except (Refused, subprocess.TimeoutExpired) as error:
            text = str(error)
        (folder / name).write_text(text)
        return text

    save("objects.yaml", "get", "all,pvc,cm,pdb,vt", "-o", "yaml", "--ignore-not-found")
    save("describe.txt", "describe", "pods,statefulsets,pvc,vt")
    save("events.txt", "get", "events", "--sort-by=.lastTimestamp")
    for pod in save("pods.txt", "get", "pods", "-o", "name").split():
        name = pod.removeprefix("pod/")
        save(f"{name}.log", "logs", name, "--all-containers", "--prefix", "--tail=2000")
        save(f"{name}.previous.log", "logs", name, "--all-containers", "--prefix", "--previous", "--tail=500")
