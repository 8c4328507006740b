"""A stand-in of metrics.k8s.io for tests of autoscalers: every pod uses what a test says.

It runs on the machine and serves on the bridge; `manifests/metrics.yaml` makes the API server ask it.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from . import control
from .settings import HERE, Settings

PORT = 18_443
GROUP = "metrics.k8s.io"


class Metrics:
    """Use as a context manager; set `cpu` at any time (a quantity, as `400m`)."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.cpu = "0m"
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """The API server asks every second."""

            def do_GET(self) -> None:
                answer = metrics.answer(self.path)
                if answer is None:
                    return self.send_error(404)
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer((f"{settings.network}.1", PORT), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.pki / "metrics.crt", settings.pki / "metrics.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def __enter__(self) -> Metrics:
        threading.Thread(target=self.server.serve_forever, daemon=True, name="metrics").start()
        manifest = (HERE / "manifests" / "metrics.yaml").read_text().replace("ADDRESS", f"{self.settings.network}.1")
        path = self.settings.work / "metrics.yaml"
        path.write_text(manifest)
        control.kubectl(self.settings, "apply", "--server-side", "-f", str(path))
        return self

    def __exit__(self, *_: object) -> None:
        control.kubectl(self.settings, "delete", "apiservice", f"v1beta1.{GROUP}", "--ignore-not-found")
        self.server.shutdown()
        self.server.server_close()

    def answer(self, target: str) -> dict | None:
        url = urlsplit(target)
        parts = url.path.strip("/").split("/")
        version = {"groupVersion": f"{GROUP}/v1beta1", "version": "v1beta1"}
        match parts:
            case ["apis", group] if group == GROUP:
                return {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version]}
            case ["apis", _, "v1beta1"]:
                pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
                return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version["groupVersion"], "resources": [pods]}
            case ["apis", _, "v1beta1", "namespaces", namespace, "pods"]:
                selector = parse_qs(url.query).get("labelSelector", [""])[0]
                return self.pods(namespace, selector)
            case _:
                return None

    def pods(self, namespace: str, selector: str) -> dict:
        text = control.kubectl(self.settings, "-n", namespace, "get", "pods", "-l", selector, "-o", "json")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        items = []
        for pod in json.loads(text)["items"]:
            sidecars = [c for c in pod["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"]
            used = {"cpu": self.cpu, "memory": "32Mi"}
            items.append(
                {
                    "metadata": {k: pod["metadata"].get(k) for k in ("name", "namespace", "labels")},
                    "timestamp": now,
                    "window": "10s",
                    "containers": [{"name": c["name"], "usage": used} for c in pod["spec"]["containers"] + sidecars],
                }
            )
        return {"kind": "PodMetricsList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": items}
