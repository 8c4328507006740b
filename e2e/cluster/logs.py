"""Logs of all pods of the tests, also of those that are gone, and what in them is a complaint."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections import defaultdict

from expected import EXPECTED
from harness.node import Node
from kube import Kube, Refused
from lib.complaints import complaints

EVERY_SECONDS = 0.5


class Logs:
    """What containers wrote, by namespace. `nodes` are those of our own cluster: the kubelet removes a pod's files with the pod, so each is linked as soon
    as it is seen. In another cluster it is what is there when a namespace is left."""

    def __init__(self, nodes: list[Node]):
        self.folders = [node.root() / "var/log" for node in nodes]
        self.kept = f"e2e-{uuid.uuid4().hex[:8]}"
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.tests: dict[str, str] = {}
        """Whose namespace each is, where it is one test's."""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        if nodes:
            self.thread.start()

    def _watch(self) -> None:
        while not self.over.wait(EVERY_SECONDS):
            self._link()

    def _link(self) -> None:
        for folder in self.folders:
            try:
                files = list(folder.glob("pods/e2e-*/*/*.log"))
            except FileNotFoundError:
                continue  # a folder went while it was listed: the next look sees the others
            for file in files:
                kept = folder / self.kept / file.relative_to(folder / "pods")
                if kept.exists():
                    continue
                kept.parent.mkdir(parents=True, exist_ok=True)
                try:
                    kept.hardlink_to(file)
                except FileNotFoundError:
                    continue  # gone since it was listed

    def leave(self, kube: Kube) -> None:
        """Reads the logs of a namespace that is about to go."""
        if self.folders:
            return
        for pod in kube.list("pod"):
            name = pod["metadata"]["name"]
            for more in ((), ("--previous",)):
                try:
                    self.lines[kube.namespace] += kube("logs", name, "--all-containers", "--tail=-1", *more).splitlines()
                except Refused:
                    continue  # none of its containers was started again

    def complaints(self) -> dict[str, list[str]]:
        """All that nobody expects, by namespace."""
        if self.folders:
            self._link()
            for folder in self.folders:
                for file in sorted((folder / self.kept).glob("*/*/*.log")):
                    namespace = file.parent.parent.name.partition("_")[0]
                    text = file.read_text(errors="replace")
                    # As the runtime writes them: time, stream, whether the line is whole, and the line.
                    self.lines[namespace] += [line.split(" ", 3)[-1] for line in text.splitlines()]
        found = {where: complaints(where.removeprefix("e2e-"), lines, EXPECTED) for where, lines in sorted(self.lines.items())}
        return {where: lines for where, lines in found.items() if lines}

    def stop(self) -> None:
        self.over.set()
        if self.folders:
            self.thread.join()
        for folder in self.folders:
            shutil.rmtree(folder / self.kept, ignore_errors=True)
