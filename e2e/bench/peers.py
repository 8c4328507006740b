"""What a user would put in front of a bucket instead: nginx (`proxy_cache` with `slice`), varnish, cachey. And vdt itself.

Each stands in front of the same SeaweedFS. A peer that is not installed is left out, with a line saying so.
"""

import json
import os
import shutil
import ssl
import subprocess
from pathlib import Path

from lib.process import Process, free_ports, wait_until
from lib.vdt import http, run

from .bed import BUCKET, Artifacts, Bed, say


class Peer:
    """A cache: where it listens, its processes, and how it names an artifact's bytes."""

    name = ""
    headers: list[str] = []
    cacert: Path | None = None

    def __init__(self, bed: Bed, memory: int, disk: int):
        self.bed, self.memory, self.disk = bed, memory, disk
        (self.port,) = free_ports(1)
        self.work = bed.work / f"{self.name}-{self.port}"
        self.work.mkdir()
        self.process: Process | None = None

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def targets(self, artifacts: Artifacts) -> list[tuple[str, int, int]]:
        """Paths and half-open ranges of all artifacts."""
        return [(self.path(artifacts, n), 0, artifacts.size) for n in artifacts.names()]

    def path(self, artifacts: Artifacts, name: str) -> str:
        return f"/{BUCKET}/{artifacts.label}/{name}"

    def cpu_seconds(self) -> float:
        return self.process.cpu_seconds()

    def refused(self) -> int:
        """Requests that it says it answered with 503 so far."""
        return 0

    def stop(self):
        if self.process:
            self.process.terminate(10)

    def _started(self) -> "Peer":
        def answers():
            if self.process.exit_code() is not None:
                raise ChildProcessError(self.process.tail())
            try:
                return http("GET", self.server + "/")[0]
            except OSError:
                return None

        wait_until(f"{self.name} answers", answers, 20)
        return self


class Nginx(Peer):
    name = "nginx"

    def __init__(self, bed: Bed, memory: int, disk: int, tls: tuple[Path, Path] | None = None):
        super().__init__(bed, memory, disk)
        self.tls = tls
        if tls:
            self.cacert = tls[0]

    @staticmethod
    def installed() -> bool:
        return bool(shutil.which("nginx", path=_PATH))

    @property
    def server(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> Peer:
        listen = f"127.0.0.1:{self.port}"
        if self.tls:
            listen += f" ssl; ssl_certificate {self.tls[0]}; ssl_certificate_key {self.tls[1]}"
        config = f"""
            daemon off; pid {self.work}/pid; error_log {self.work}/error.log warn;
            worker_processes 2; user root;
            events {{ worker_connections 2048; }}
            http {{
                access_log off; sendfile on; keepalive_requests 1000000;
                client_body_temp_path {self.work}/body; proxy_temp_path {self.work}/temp;
                fastcgi_temp_path {self.work}/f; uwsgi_temp_path {self.work}/u; scgi_temp_path {self.work}/s;
                proxy_cache_path {self.work}/cache levels=1:2 keys_zone=c:64m max_size={self.disk} inactive=1d use_temp_path=off;
                upstream bucket {{ server {self.bed.seaweed.host}; keepalive 32; }}
                server {{
                    listen {listen};
                    location / {{
                        slice 1m; proxy_cache c; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
                        proxy_cache_valid 200 206 1d; proxy_cache_lock on; proxy_http_version 1.1; proxy_set_header Connection "";
                        proxy_set_header Host {self.bed.seaweed.host}; proxy_pass http://bucket;
                    }}
                }}
            }}"""
        (self.work / "nginx.conf").write_text(config)
        self.process = Process([shutil.which("nginx", path=_PATH), "-c", self.work / "nginx.conf"], self.work / "log")
        wait_until("nginx listens", lambda: (self.work / "pid").exists(), 20)
        return self


class Varnish(Peer):
    name = "varnish"

    @staticmethod
    def installed() -> bool:
        return bool(shutil.which("varnishd", path=_PATH))

    def start(self) -> Peer:
        # Whole objects: varnish 7 has no slices without a module. It caches in memory, or in a file that it maps.
        (self.work / "default.vcl").write_text(
            f"""vcl 4.1;
            backend default {{ .host = "127.0.0.1"; .port = "{self.bed.seaweed.ports[6]}"; }}
            sub vcl_recv {{ if (req.url == "/") {{ return (synth(200)); }} unset req.http.Cookie; return (hash); }}
            sub vcl_backend_response {{ set beresp.ttl = 1d; set beresp.do_stream = true; }}"""
        )
        size = self.memory if self.memory >= self.disk else self.disk
        kind = f"malloc,{size}" if self.memory >= self.disk else f"file,{self.work}/storage,{size}"
        argv = ["varnishd", "-F", "-n", self.work / "n", "-a", f"127.0.0.1:{self.port}", "-f", self.work / "default.vcl"]
        argv += ["-s", kind, "-p", "feature=+http2", "-T", "none", "-j", "none"]
        argv[0] = shutil.which("varnishd", path=_PATH)
        self.process = Process(argv, self.work / "log")
        return self._started()


class Cachey(Peer):
    name = "cachey"

    @staticmethod
    def installed() -> bool:
        return bool(_cachey())

    def start(self) -> Peer:
        disk = self.work / "cache"
        disk.mkdir()
        argv = [_cachey(), "--memory", f"{self.memory}B", "--disk-path", disk, "--disk-capacity", f"{self.disk}B"]
        argv += ["--port", self.port]
        env = os.environ | {
            "AWS_ACCESS_KEY_ID": self.bed.seaweed.access_key,
            "AWS_SECRET_ACCESS_KEY": self.bed.seaweed.secret_key,
            "AWS_REGION": self.bed.seaweed.region,
            "AWS_ENDPOINT_URL": self.bed.seaweed.endpoint,
            "AWS_ENDPOINT_URL_S3": self.bed.seaweed.endpoint,
        }
        self.headers = ["C0-Config: fps=true"]
        self.process = Process(argv, self.work / "log", env=env)
        return self._started()

    def path(self, artifacts: Artifacts, name: str) -> str:
        return f"/fetch/{BUCKET}/{artifacts.label}/{name}"


class Vdt(Peer):
    """vdt: the ranges are those of the artifacts in the virtual files."""

    name = "vdt"

    def __init__(self, bed: Bed, memory: int, disk: int, tls: tuple[Path, Path] | None = None):
        super().__init__(bed, memory, disk)
        self.tls = tls
        self.cacert = tls[0] if tls else None
        self._served = {}

    def start(self) -> Peer:
        return self  # with the first artifacts

    def serve(self, artifacts: Artifacts):
        if artifacts not in self._served:
            args = ["--cache-memory", self.memory, "--cache-disk", self.disk, "--cache-dir", self.work / "cache"]
            self._served[artifacts] = self.bed.serve([artifacts], name="cached", args=args, tls=self.tls)
            self.process = self._served[artifacts].process
        return self._served[artifacts]

    @property
    def server(self) -> str:
        (served,) = self._served.values()
        return f"{'https' if self.tls else 'http'}://{served.listen}"

    def targets(self, artifacts: Artifacts) -> list[tuple[str, int, int]]:
        return artifact_ranges(self.serve(artifacts), artifacts)

    def refused(self) -> int:
        (served,) = self._served.values()
        status, body = served.admin("GET", "/metrics")
        assert status == 200, (status, body[:500])
        lines = [line.rsplit(" ", 1) for line in body.decode().splitlines() if line.startswith("vdt_http_requests_total{")]
        return sum(int(value) for key, value in lines if 'status="503"' in key)

    def stop(self):
        for served in self._served.values():
            served.stop(seconds=10)


def artifact_ranges(vdt, artifacts: Artifacts) -> list[tuple[str, int, int]]:
    """Where each artifact lies in the virtual files that `vdt` serves: path, first byte, byte after the last; in the files' order."""
    return [(file, start, end) for file, ropes in drawn(vdt, artifacts) for kind, start, end in ropes if kind == "reference"]


def drawn(vdt, artifacts: Artifacts) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """The virtual files, by their HTTP paths, with their segments: kind, first byte, byte after the last."""
    table = vdt.table(f"t{artifacts.label.lower()}")
    name = f"{table.catalog}/{table.schema}/{table.name}"
    files = []
    for rope in sorted(Path(vdt.state, name).glob("*.rope")):
        file = rope.name.removesuffix(".rope") + ".parquet"
        shown = run("inspect", "--state", vdt.state, name, "--file", file, "--output", "json")
        segments = [(s["kind"], s["start"], s["start"] + s["bytes"]) for s in json.loads(shown.stdout)]
        files.append((f"/v1/{name}/{file}", segments))
    assert sum(kind == "reference" for _, segments in files for kind, _, _ in segments) == artifacts.count
    return files


PEERS = [Nginx, Varnish, Cachey]
_PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"


def _cachey() -> str | None:
    return os.environ.get("CACHEY") or shutil.which("cachey")


def installed_peers() -> list[type[Peer]]:
    for peer in PEERS:
        if not peer.installed():
            hint = "cargo install cachey, or name the binary in $CACHEY" if peer is Cachey else f"apt-get install {peer.name}"
            say(f"{peer.name} is not installed and left out ({hint})")
    return [peer for peer in PEERS if peer.installed()]


def self_signed(work: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    certificate, key = work / "tls.crt", work / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
        + ["-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    ssl.create_default_context(cafile=certificate)
    return certificate, key
