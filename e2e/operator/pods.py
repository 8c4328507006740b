"""Plays the kubelet and the pods: says that pods run, and answers for their admin API."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from control_plane import Api, ApiError


class Pods:
    def __init__(self, api: Api):
        self.api = api
        self.ready = True
        """Whether pods become ready."""
        self.reports: dict[str, list] = {}
        """What `namespace/name` answers; a healthy table by default."""
        self.cache = {"tiers": {"memory": {"state": "Ok"}, "disk": {"state": "Ok"}}}
        self.silent: set[str] = set()
        """Of `namespace/name`: pods that take connections and never answer."""
        self.asked: list[str] = []
        self.refused = 0
        self.least_ready: dict[str, int] = {}
        self._stop = threading.Event()
        pods = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                audience = pods.authorize(self.headers.get("Authorization", ""))
                if not audience:
                    pods.refused += 1
                    return self.answer(401, {})
                pods.asked.append(audience)
                if audience in pods.silent:
                    pods._stop.wait(15)
                    return None
                if self.path == "/api/v1/tables":
                    return self.answer(200, pods.reports.get(audience) or pods.healthy(audience))
                return self.answer(200, pods.cache)

            def answer(self, code, body):
                data = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        threading.Thread(target=self._play, daemon=True).start()

    def authorize(self, header: str) -> str | None:
        try:
            head, claims, _ = (json.loads(base64.urlsafe_b64decode(part + "==")) if index < 2 else part for index, part in enumerate(header.removeprefix("Bearer ").split(".")))
        except ValueError:
            return None
        now = time.time()
        fine = head["alg"] == "EdDSA" and claims["exp"] - claims["iat"] <= 60 and claims["iat"] - 5 < now < claims["exp"]
        return claims["aud"] if fine else None

    def healthy(self, audience: str, **conditions) -> list:
        namespace, name = audience.split("/")
        made = [
            {"type": kind, "status": "True", "reason": reason, "message": "fine", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            for kind, reason in [("SourcesReady", "Listed"), ("SchemaAccepted", "Accepted")]
        ]
        for one in made:
            one.update(conditions.pop(one["type"], {}))
        # What a pod does not say when all is well.
        made += [made[0] | {"type": kind} | said for kind, said in conditions.items()]
        return [{"table": f"main/{namespace}/{name}", "version": 3, "artifacts": 412, "conditions": made, "sources": [{"name": "bucket", "status": "True"}]}]

    def _play(self):
        while not self._stop.is_set():
            try:
                self._look()
            except (ApiError, OSError):
                pass
            self._stop.wait(0.1)

    def _look(self):
        ready: dict[str, int] = {}
        for pod in self.api.list("Pod", None):
            meta, status = pod["metadata"], pod.get("status", {})
            owner = f"{meta['namespace']}/{meta.get('labels', {}).get('app.kubernetes.io/instance')}"
            conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
            ready.setdefault(owner, 0)
            ready[owner] += conditions.get("Ready") == "True"
            if "deletionTimestamp" in meta or meta.get("annotations", {}).get("test/unplayed"):
                continue
            wanted = "True" if self.ready else "False"
            if status.get("phase") == "Running" and conditions.get("Ready") == wanted:
                continue
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            played = {
                "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
                "conditions": [{"type": kind, "status": wanted, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")],
            }  # fmt: skip
            self.api.patch("Pod", meta["name"], {"status": played}, meta["namespace"], "/status")
        for owner, number in ready.items():
            self.least_ready[owner] = min(self.least_ready.get(owner, number), number)

    def stop(self):
        self._stop.set()
        self.server.shutdown()
