"""The `vdt` binary: where it is, running it to its end, and serving with it."""

import json
import os
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .process import Process, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 60


def binary() -> Path:
    """`$VDT`, or the newest `vdt` that cargo has built."""
    if os.environ.get("VDT"):
        return Path(os.environ["VDT"])
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [target / profile / "vdt" for profile in ("release", "debug")]
    built = sorted((p for p in built if p.exists()), key=lambda p: p.stat().st_mtime)
    if not built:
        raise FileNotFoundError(f"no vdt binary below {target}: `make build`, or name one in $VDT")
    return built[-1]


def environment(extra: dict | None = None) -> dict:
    """The caller's environment without anybody's cloud credentials, so that no test depends on them."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GOOGLE_", "AZURE_", "VDT_"))}
    return kept | {"NO_COLOR": "1", "RUST_BACKTRACE": "1"} | (extra or {})


def run(*args, env: dict | None = None, cwd: Path | None = None, seconds: float = 60) -> subprocess.CompletedProcess:
    """Runs `vdt ARGS` to its end, with a deadline."""
    return subprocess.run(
        [str(binary()), *map(str, args)],
        env=environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
    )


@dataclass(frozen=True)
class Table:
    """Where clients find one table."""

    catalog: str
    schema: str
    name: str
    s3: str
    http: str
    endpoint: str
    version: int
    artifacts: int

    def meta(self) -> "Table":
        """The table of the same rows without `data`."""
        return Table(
            self.catalog, self.schema, self.name + "_meta", self.s3.rstrip("/") + "_meta",
            self.http.rstrip("/") + "_meta", self.endpoint, self.version, self.artifacts,
        )  # fmt: skip


class Vdt:
    """`vdt serve`, from start to stop. A context manager."""

    def __init__(self, *sources, state: Path | str, args=(), env: dict | None = None, work: Path | None = None):
        self.work = Path(work or tempfile.mkdtemp(prefix="vdt-e2e-"))
        self.work.mkdir(parents=True, exist_ok=True)
        self.sources, self.args = [str(s) for s in sources], [str(a) for a in args]
        self.state = state if str(state).startswith("s3://") else Path(state)
        self.env = environment(env)
        self.process: Process | None = None
        self.ready: dict = {}
        self._ready_file = self.work / "ready.json"

    def spawn(self) -> "Vdt":
        """Starts the process and does not wait for it."""
        self._ready_file.unlink(missing_ok=True)
        self.ready = {}
        argv = [binary(), "serve", *self.sources, "--state", self.state]
        argv += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--ready-file", self._ready_file]
        self.process = Process(argv + self.args, self.work / "vdt.log", env=self.env)
        return self

    def start(self, seconds: float = START_SECONDS) -> "Vdt":
        """Starts the process and waits for its ready file."""
        self.spawn()
        try:
            wait_until("vdt is ready", self._is_ready, seconds)
        except (TimeoutError, ChildProcessError) as e:
            self.process.kill()
            raise RuntimeError(f"vdt did not start ({e}):\n{self.process.tail()}") from None
        return self

    def _is_ready(self) -> bool:
        if self._ready_file.exists():
            try:
                self.ready = json.loads(self._ready_file.read_text())
                return True
            except json.JSONDecodeError:  # still being written
                return False
        if self.process.exit_code() is not None:
            raise ChildProcessError(f"exit code {self.process.exit_code()}")
        return False

    __enter__ = lambda self: self if self.process else self.start()  # noqa: E731

    def __exit__(self, *_):
        self.stop()

    def stop(self, seconds: float = 30) -> int | None:
        return self.process.terminate(seconds) if self.process else None

    def kill(self) -> int:
        """kill -9."""
        return self.process.kill()

    @property
    def listen(self) -> str:
        return self.ready["listen"]

    @property
    def endpoint(self) -> str:
        return f"http://{self.ready['listen']}"

    def table(self, name: str) -> Table:
        for t in self.ready["tables"]:
            if t["name"] == name:
                return Table(
                    t["catalog"], t["schema"], name, t["s3"], t["http"], self.endpoint, t["version"], t["artifacts"]
                )
        raise KeyError(f"{name} is not among {[t['name'] for t in self.ready['tables']]}")

    def admin(self, method: str, path: str, seconds: float = 60) -> tuple[int, bytes]:
        """One request to the admin listener: status and body, whatever the status is."""
        return http(method, f"http://{self.ready['admin']}{path}", seconds=seconds)[::2]

    def refresh(self, table: str | None = None, wait: bool = True, seconds: float = 60) -> object:
        """`POST /refresh`: the reports when waited for."""
        query = {"wait": "true" if wait else "false"} | ({"table": table} if table else {})
        status, body = self.admin("POST", "/refresh?" + urllib.parse.urlencode(query), seconds)
        assert status == (200 if wait else 202), f"refresh: {status} {body[:500]!r}\n{self.process.tail()}"
        return json.loads(body) if body.strip() else None

    def tables(self) -> list[dict]:
        status, body = self.admin("GET", "/api/v1/tables")
        assert status == 200, (status, body[:500])
        return json.loads(body)

    def cache(self) -> dict:
        """What the cache holds and did (`/api/v1/cache`)."""
        status, body = self.admin("GET", "/api/v1/cache")
        assert status == 200, (status, body[:500])
        return json.loads(body)


def http(method: str, url: str, headers: dict | None = None, seconds: float = 60) -> tuple[int, dict, bytes]:
    """One HTTP request: status, headers (names in lower case), body."""
    request = urllib.request.Request(url, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as r:
            return r.status, {k.lower(): v for k, v in r.headers.items()}, r.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, {k.lower(): v for k, v in e.headers.items()}, e.read()
