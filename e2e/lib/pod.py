"""A pod on one machine: `vdt serve --origin-socket` behind `vdt-sidecar`, which clients talk to."""

import json
import os
from pathlib import Path

from .process import Process, wait_until
from .vdt import START_SECONDS, Vdt, binary


def sidecar_binary() -> Path:
    """`$VDT_SIDECAR`, or the `vdt-sidecar` beside the `vdt` that is tested."""
    return Path(os.environ.get("VDT_SIDECAR") or binary().with_name("vdt-sidecar"))


class Pod(Vdt):
    """Server and front door. What a `Vdt` can, with the two processes to stop, kill and start by themselves.

    `sources` are manifests: the front door reads the same ones. After SIGTERM that goes on serving for `lame_duck_seconds`.
    """

    def __init__(self, *sources, state, args=(), front_args=(), lame_duck_seconds=0, env=None, work=None):
        super().__init__(*sources, state=state, args=args, env=env, work=work)
        self.socket = self.work / "run" / "origin.sock"
        self.front_args = ["--lame-duck-seconds", str(lame_duck_seconds)] + [str(a) for a in front_args]
        self.server: Process | None = None
        self.admin_listen = "127.0.0.1:0"
        self.cache_args = ["--cache-memory", "64Mi", "--cache-disk", "512Mi"]

    def spawn_server(self) -> Process:
        """Starts the server and does not wait for it."""
        argv = [binary(), "serve", *self.sources, "--state", self.state, "--origin-socket", self.socket]
        self.server = Process(argv + self.args, self.work / "server.log", env=self.env)
        return self.server

    def spawn(self) -> "Pod":
        self.spawn_server()
        return self.spawn_front()

    def spawn_front(self) -> "Pod":
        """Starts the front door and does not wait for it."""
        self._ready_file.unlink(missing_ok=True)
        self.ready = {}
        argv = [sidecar_binary(), "--origin", f"unix:{self.socket}", "--config", ",".join(self.sources)]
        argv += ["--listen", "127.0.0.1:0", "--admin-listen", self.admin_listen, "--ready-file", self._ready_file]
        argv += ["--cache-dir", self.work / "cache", *self.cache_args]
        argv += self._secrets() + self.front_args
        self.process = Process(argv, self.work / "front.log", env=self.env)
        return self

    def _secrets(self) -> list:
        if "--secrets-dir" in self.args:
            at = self.args.index("--secrets-dir")
            return self.args[at : at + 2]
        return []

    def start(self, seconds: float = START_SECONDS) -> "Pod":
        try:
            super().start(seconds)
        except RuntimeError as e:
            self.server.kill()
            raise RuntimeError(f"{e}\nserver:\n{self.server.tail()}") from None
        return self

    def stop(self, seconds: float = 30) -> int | None:
        # The front door first: it drains while its origin lives.
        code = super().stop(seconds)
        if self.server:
            self.server.terminate(seconds)
        return code

    def kill_server(self) -> int:
        """kill -9 of the server alone."""
        return self.server.kill()

    def restart_server(self, seconds: float = START_SECONDS):
        """Starts the server again and waits until the front door has met it and every table is refreshed."""
        self.spawn_server()
        wait_until("the front door has met the server", lambda: not self.reasons() & {"OriginAway"}, seconds)
        wait_until("every table is refreshed", lambda: all(t.get("lastSuccess") for t in self.tables()), seconds)

    def readyz(self) -> tuple[int, dict]:
        status, body = self.admin("GET", "/readyz")
        return status, json.loads(body)

    def reasons(self) -> set[str]:
        """Reasons of the front door's readiness."""
        return {r["reason"] for r in self.readyz()[1]["reasons"]}

    def metric(self, name: str) -> float:
        """The sum of a metric's samples, 0 if it is not there."""
        status, body = self.admin("GET", "/metrics")
        assert status == 200, status
        lines = [line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")]
        return sum(float(value) for key, value in lines if key.split("{", 1)[0] == name)
