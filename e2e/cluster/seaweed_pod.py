"""The S3 service as a pod of the cluster. Pods find it by its Service, tests through `kubectl port-forward`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kube import Kube
from lib.process import Process, wait_until
from lib.seaweed import SeaweedFS, arguments

MANIFEST = Path(__file__).parent / "manifests" / "seaweedfs.yaml"
IMAGE = "chrislusf/seaweedfs:4.48"
"""The release of requirements.txt; `E2E_SEAWEED_IMAGE` names another one, which has a shell too."""
PORT = 8333


class SeaweedPod(SeaweedFS):
    """As `SeaweedFS` is, in a namespace. `stop` kills its process, which takes its connections with it, and `start` brings it back with all it had."""

    def __init__(self, kube: Kube, folder: Path, image: str = IMAGE):
        super().__init__(folder)
        self.kube, self.image = kube, image
        self.forward: Process | None = None

    @property
    def host(self) -> str:
        return f"seaweedfs.{self.kube.namespace}.svc.cluster.local:{PORT}"

    @property
    def reached_at(self) -> str:
        if self.forward is None or self.forward.exit_code() is not None:  # it ends when a connection is refused in the pod
            self._connect()
        return self._reached_at

    def _connect(self) -> None:
        log = self.directory / "port-forward.log"
        log.unlink(missing_ok=True)
        kubectl = [self.kube.bin / "kubectl", "-n", self.kube.namespace, "port-forward", "pod/seaweedfs", f":{PORT}"]
        self.forward = Process(kubectl, log, env=self.kube.environment)
        found = wait_until("the way to SeaweedFS", lambda: re.search(r"Forwarding from (127\.0\.0\.1:\d+)", self.forward.output()), 30)
        self._reached_at = f"http://{found[1]}"

    def start(self) -> SeaweedPod:
        if self.forward is None:
            ports = [PORT + number for number in range(1, 7)] + [PORT, PORT + 7]
            words = " ".join(arguments("/data", "/config/s3.json", ports, "0.0.0.0"))
            filled = {"IMAGE": self.image, "CONFIG": json.dumps(self.identities()), "ARGUMENTS": words}
            self.kube("apply", "-f", "-", stdin=re.sub(r"\b(IMAGE|CONFIG|ARGUMENTS)$|\b(ARGUMENTS)\b(?= &)", lambda m: filled[m[0]], MANIFEST.read_text(), flags=re.MULTILINE))
        else:
            self._run("rm -f /data/stopped")
        # It pulls its image.
        self.kube.wait("pod/seaweedfs", "condition=Ready", seconds=180)
        wait_until("SeaweedFS answers", self._ready, 60, every=0.2)
        return self

    def _ready(self) -> bool:
        try:
            return self._answers()
        except (OSError, TimeoutError):
            return False

    def stop(self) -> None:
        self._run("touch /data/stopped && kill -9 $(cat /data/pid)")

    def end(self) -> None:
        """Without a way back; the pod goes with its namespace."""
        if self.forward:
            self.forward.kill()

    def _run(self, command: str) -> None:
        self.kube("exec", "seaweedfs", "--", "sh", "-c", command)
