"""The real clients through the front door of a pod: cold, warm, with the server killed, and after its return."""

import json
import os
import socket as sockets
import ssl
import stat
import subprocess
import tempfile
import urllib.error
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from lib import artifacts, manifest
from lib.clients import DeltaDataset, Where, place_of
from lib.pod import Pod, sidecar_binary
from lib.process import wait_until
from lib.vdt import binary, environment, http

INLINE_MAX = 256 * 1024


@pytest.fixture(scope="module")
def pod(tmp_path_factory, seaweed):
    """Serves `papers` (a folder) and `odd` (a bucket) as two processes."""
    work = tmp_path_factory.mktemp("pod")
    artifacts.write_folder(work / "papers", artifacts.papers())
    seaweed.ensure_bucket("pod")
    seaweed.upload("pod", {f"in/{k}": d for k, d in artifacts.odd(INLINE_MAX).items()})
    layout = {"inlineMaxBytes": "256Ki", "rowGroupTargetBytes": "64Ki"}
    # A catalog of its own: Spark knows one endpoint a bucket.
    named = lambda name: {"catalog": "podcat", "name": name}  # noqa: E731
    papers = manifest.virtual_table(
        "papers", [manifest.folder("papers")], table=named("papers"), refresh=manifest.ON_REQUEST
    )
    odd = manifest.virtual_table(
        "odd",
        [manifest.bucket("pod", seaweed.endpoint, prefix="in/")],
        table=named("odd"),
        layout=layout,
        refresh=manifest.ON_REQUEST,
    )
    manifests = [manifest.write(work / "papers.yaml", papers), manifest.write(work / "odd.yaml", odd)]
    secrets = seaweed.secrets_dir(work / "secrets")
    started = Pod(*manifests, state=work / "state", args=["--secrets-dir", secrets], work=work / "p")
    with started.start():
        yield started


@pytest.fixture
def alive(pod):
    """The pod, with its server up again whatever a test did to it."""
    yield pod
    if pod.server.exit_code() is not None:
        pod.restart_server()


def expected(name: str) -> dict[str, bytes | None]:
    if name == "papers":
        return dict(artifacts.papers())
    return artifacts.inline(artifacts.odd(INLINE_MAX), INLINE_MAX)


def rows(session) -> dict:
    return {name: artifacts.sha256(data) for name, data in session.rows(["filename", "data"])}


@pytest.mark.parametrize("table", ["papers", "odd"])
def test_every_byte_cold_warm_and_with_the_server_killed(alive, client, table):
    """Four reads by one session: cold, warm, after kill -9 of the server (what is held), and after its return."""
    want = {name: artifacts.sha256(data) for name, data in expected(table).items()}
    session = client(place_of(alive.table(table)))
    try:
        assert rows(session) == want
        assert rows(session) == want
        alive.kill_server()
        status, body = alive.readyz()
        assert status == 200, body
        assert rows(session) == want, "what is held is served without the server"
        alive.restart_server()
        assert rows(session) == want
        one = sorted(name for name, digest in want.items() if digest)[0]
        found = session.rows(["filename", "data"], Where("filename", "eq", (one,)))
        assert [(name, artifacts.sha256(data)) for name, data in found] == [(one, want[one])]
    finally:
        session.close()


def test_a_new_version_is_visible_at_once(alive, client):
    table = alive.table("papers")
    session = client(place_of(table))
    folder = alive.work.parent / "papers"
    try:
        before = session.count()
        artifacts.write_file(folder / f"new for {client.__name__}.pdf", b"%PDF-1.4 new")
        [report] = alive.refresh("podcat.default.papers")
        assert report["outcome"] == "Committed", report
        assert session.count() == before + 1
    finally:
        (folder / f"new for {client.__name__}.pdf").unlink(missing_ok=True)
        alive.refresh()
        session.close()


def test_the_log_is_answered_while_the_server_is_away(alive):
    table = alive.table("papers")
    url = f"{alive.endpoint}/podcat?list-type=2&prefix=default/papers/_delta_log/"
    status, _, before = http("GET", url)
    assert status == 200
    alive.kill_server()
    wait_until("the door has noticed", lambda: "OriginAway" in alive.reasons(), 10)
    status, _, stale = http("GET", url)
    assert status == 200
    assert stale.count(b"<Key>") == before.count(b"<Key>") > 0
    assert alive.metric("vdt_log_stale_answers_total") >= 1
    assert alive.metric("vdt_origin_up") == 0
    status, body = alive.admin("GET", "/api/v1/tables")
    assert status == 503 and b"away" in body
    # The page and what it says of the cache are the front door's own.
    assert alive.admin("GET", "/")[0] == alive.admin("GET", "/api/v1/cache")[0] == 200
    alive.restart_server()
    assert alive.metric("vdt_origin_up") == 1
    assert table.version >= 0


def test_a_changed_source_is_reported_and_refreshed(alive):
    folder = alive.work.parent / "papers"
    name = "changing.pdf"
    artifacts.write_file(folder / name, b"%PDF-1.4 " + b"a" * 5000)
    try:
        alive.refresh()
        [table] = [t for t in alive.tables() if t["table"].endswith("/papers")]
        drift = alive.metric("vdt_source_drift_total")
        artifacts.write_file(folder / name, b"%PDF-1.4 " + b"b" * 6000, age_seconds=1800)
        # The version that is open refers to bytes that are gone.
        with pytest.raises(Exception):  # noqa: B017 whatever the client calls it
            DeltaDataset(place_of(alive.table("papers"))).rows(["filename", "data"])
        wait_until("the drift is reported", lambda: alive.metric("vdt_source_drift_total") > drift, 10)
        newer = lambda: [t for t in alive.tables() if t["table"] == table["table"]][0]["version"]  # noqa: E731
        wait_until("the table is refreshed", lambda: newer() > table["version"], 15)
        again = DeltaDataset(place_of(alive.table("papers")))
        assert dict(again.rows(["filename", "data"]))[name].endswith(b"b" * 6000)
    finally:
        (folder / name).unlink(missing_ok=True)
        alive.refresh()


def test_the_socket_is_guarded(alive):
    import http.client

    class Unix(http.client.HTTPConnection):
        def connect(self):
            self.sock = sockets.socket(sockets.AF_UNIX)
            self.sock.connect(str(alive.socket))

    def ask(path, headers=None, method="GET"):
        connection = Unix("origin", timeout=30)
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()

    assert stat.S_IMODE(alive.socket.parent.stat().st_mode) == 0o700
    assert ask("/-/probe")[0] == 200
    match = {"If-Match": '"any"'}
    for path, headers in [
        ("/sources", {}),
        ("/sources/?list-type=2", match),
        ("/%73ources?list-type=2", match),
        ("/sources/0011223344556677/x", match),
        ("/sources/0011223344556677/x", {}),
        ("/v1/sources/0011223344556677/x", match),
    ]:
        assert ask(path, headers)[0] == 403, path
    assert ask("/log/podcat/default/papers/_delta_log/00000000000000000000.json")[0] == 200
    assert ask("/log/podcat/default/papers/_vdt/owner.json")[0] == 404
    assert ask("/log/store.json")[0] == 404
    assert ask("/log/x", method="PUT")[0] == 403


def answer_to(uid: int, socket: Path) -> bytes:
    """What the socket answers to another user's GET of `/-/probe`. By a fork: that user may not be able to run anything of ours."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with sockets.socket(sockets.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(str(socket))
                connection.sendall(b"GET /-/probe HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n")
                while part := connection.recv(4096):
                    os.write(write, part)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as another user")
def test_another_user_who_reaches_the_socket_is_turned_away(tmp_path):
    """By a path that everybody may walk, to a file that everybody may write: the kernel tells who connects."""
    artifacts.write_folder(tmp_path / "files", {"a.pdf": b"%PDF a"})
    path = manifest.write(tmp_path / "files.yaml", manifest.virtual_table("files", [manifest.folder("files")]))
    pod = Pod(path, state=tmp_path / "state", work=tmp_path / "p")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        pod.socket = Path(folder) / "origin.sock"
        pod.spawn_server()
        try:
            wait_until("it serves its own user", lambda: b" 200 " in answer_to(0, pod.socket), 30)
            os.chmod(folder, 0o755)
            os.chmod(pod.socket, 0o666)
            assert answer_to(65534, pod.socket) == b""
            wait_until("it says who", lambda: "peer=unix:65534" in pod.server.output(), 10)
            assert b" 200 " in answer_to(0, pod.socket)
        finally:
            pod.server.terminate()


@pytest.mark.parametrize("flags", [["--cache-strict"], ["--cache-disk", "1Gi"]])
def test_a_disk_tier_without_a_folder_is_bad_usage(tmp_path, flags):
    path = manifest.write(tmp_path / "files.yaml", manifest.virtual_table("files", [manifest.folder("files")]))
    argv = [sidecar_binary(), "--origin", f"unix:{tmp_path / 'none.sock'}", "--config", path, "--listen", "127.0.0.1:0"]
    argv += ["--admin-listen", "none", *flags]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=45)
    assert done.returncode == 2, done.stderr
    assert " ".join(flags) in done.stderr and "--cache-dir" in done.stderr, done.stderr


@pytest.mark.parametrize("mode, is_warm", [("Metadata", True), ("None", False)])
def test_a_front_door_that_opens_has_warmed_up_as_its_manifest_says(tmp_path, mode, is_warm):
    artifacts.write_folder(tmp_path / "files", {"a.pdf": b"%PDF a"})
    server = {"cache": {"warmup": {"mode": mode}}}
    table = manifest.virtual_table("files", [manifest.folder("files")], server=server)
    path = manifest.write(tmp_path / "files.yaml", table)
    pod = Pod(path, state=tmp_path / "state", work=tmp_path / "p")
    # A version is there before the front door is.
    pod.spawn_server()
    try:
        wait_until("the table has a version", lambda: list((tmp_path / "state").glob("main/default/files/*.rope")), 30)
        pod.spawn_front()
        wait_until("ready", pod._is_ready, 30)
        [ropes] = [one["memoryEntries"] for one in pod.cache()["classes"] if one["class"] == "metadata"]
        assert (ropes > 0) == is_warm, pod.cache()
    finally:
        pod.stop()


def test_probe(alive, tmp_path):
    run = lambda path: subprocess.run([binary(), "probe", path, "--timeout-seconds", "2"], capture_output=True)  # noqa: E731
    assert run(alive.socket).returncode == 0
    stale = tmp_path / "stale.sock"
    left = sockets.socket(sockets.AF_UNIX)
    left.bind(str(stale))
    left.close()
    assert stale.exists() and run(stale).returncode == 1


def test_a_server_serves_what_it_can_and_says_what_it_cannot(tmp_path, seaweed):
    """A bad manifest, a bucket that is not there: the socket is served all the same, the good table too."""
    artifacts.write_folder(tmp_path / "good", {"a.pdf": b"%PDF a"})
    good = manifest.write(tmp_path / "good.yaml", manifest.virtual_table("good", [manifest.folder("good")]))
    absent = manifest.write(
        tmp_path / "absent.yaml",
        manifest.virtual_table("absent", [manifest.bucket("no-such-bucket-here", seaweed.endpoint)]),
    )
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: VirtualTable\nspec: {nonsense: 1}\n")
    secrets = seaweed.secrets_dir(tmp_path / "secrets")
    pod = Pod(good, absent, broken, state=tmp_path / "state", args=["--secrets-dir", secrets], work=tmp_path / "p")
    pod.spawn_server()
    pod.sources = [str(good)]
    try:
        pod.spawn_front()
        wait_until("the front door is ready", pod._is_ready, 30)
        assert pod.table("good").artifacts == 1
        wait_until(
            "the bucket's failure is told",
            lambda: any(
                t["table"] == "main/default/absent" and t["conditions"][0]["status"] == "False" for t in pod.tables()
            ),
            30,
        )
        tables = {t["table"]: t["conditions"][0] for t in pod.tables()}
        assert tables[str(broken)]["reason"] == "ManifestInvalid"
        assert pod.server.exit_code() is None
    finally:
        pod.stop()


def test_the_front_door_is_ready_only_after_it_met_the_server(tmp_path):
    artifacts.write_folder(tmp_path / "files", {"a.pdf": b"%PDF a"})
    path = manifest.write(tmp_path / "files.yaml", manifest.virtual_table("files", [manifest.folder("files")]))
    # Chosen ports, because there is no ready file yet to tell them.
    from lib.process import free_ports

    [admin] = free_ports(1)
    pod = Pod(path, state=tmp_path / "state", work=tmp_path / "p")
    pod.admin_listen = f"127.0.0.1:{admin}"

    def readyz():
        try:
            return http("GET", f"http://127.0.0.1:{admin}/readyz")
        except urllib.error.URLError:
            return None

    pod.spawn_front()
    try:
        status, _, body = wait_until("the admin listener", readyz, 20)
        assert status == 503 and json.loads(body)["reasons"][0]["reason"] == "OriginAway"
        pod.spawn_server()
        wait_until("ready", lambda: (readyz() or [0])[0] == 200, 30)
        wait_until("the ready file", pod._is_ready, 30)
        # A clean end of both, the front door first, and no socket left.
        assert pod.stop() == 0
        assert pod.server.exit_code() == 0
        assert not pod.socket.exists()
    finally:
        pod.process.kill()
        if pod.server:
            pod.server.kill()


def test_a_pod_starts_without_its_secrets_and_takes_them_when_they_come(tmp_path):
    """No certificate, and one principal of two without a Secret: unready with the reason, then served, and rotated."""
    from lib.process import free_ports

    artifacts.write_folder(tmp_path / "files", {"a.pdf": b"%PDF a"})
    principals = [{"name": name, "secretRef": {"name": f"{name}-key"}} for name in ("late", "early")]
    server = {
        "access": {"mode": "Keys", "principals": principals},
        "tls": {"mode": "Secret", "secretRef": {"name": "own-tls"}},
    }
    table = manifest.virtual_table("files", [manifest.folder("files")], server=server)
    secrets = tmp_path / "secrets"
    for folder in ("late-key", "early-key", "own-tls"):
        (secrets / folder).mkdir(parents=True)
    (secrets / "early-key" / "token").write_text("early")
    path = manifest.write(tmp_path / "files.yaml", table)
    pod = Pod(path, state=tmp_path / "state", args=["--secrets-dir", secrets], work=tmp_path / "p")
    [admin] = free_ports(1)
    pod.admin_listen = f"127.0.0.1:{admin}"

    def reasons():
        try:
            status, _, body = http("GET", f"http://127.0.0.1:{admin}/readyz")
        except urllib.error.URLError:
            return None
        return status, {one["reason"] for one in json.loads(body)["reasons"]}

    pod.spawn()
    try:
        waits = "the certificate is missed"
        wait_until(waits, lambda: (reasons() or (0, ()))[0] == 503 and "NoCertificate" in reasons()[1], 30)
        assert pod.process.exit_code() is None
        new = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
        files = ["-keyout", secrets / "own-tls" / "tls.key", "-out", tmp_path / "tls.crt"]
        subprocess.run(["openssl", "req", "-x509", *new, *files], check=True, capture_output=True)
        (tmp_path / "tls.crt").rename(secrets / "own-tls" / "tls.crt")
        wait_until("the ready file", pod._is_ready, 30)
        assert pod.ready["tables"][0]["http"].startswith("https://")

        trust = ssl.create_default_context(cafile=secrets / "own-tls" / "tls.crt")
        trust.check_hostname = False

        def status(token):
            client = HTTPSConnection(pod.listen, context=trust, timeout=20)
            headers = {"Authorization": f"Bearer {token}", "Depth": "0"}
            client.request("PROPFIND", "/v1/main/default/files/", headers=headers)
            return client.getresponse().status

        assert (status("early"), status("late")) == (207, 401)
        (secrets / "late-key" / "token").write_text("late")
        wait_until("the other's secret is taken", lambda: status("late") == 207, 20)
        # Broken again, and the other rotated all the same.
        (secrets / "late-key" / "token").write_text("")
        (secrets / "early-key" / "token").write_text("rotated")
        wait_until("the rotation is taken", lambda: status("rotated") == 207, 20)
        assert status("early") == 401
        (secrets / "late-key" / "token").unlink()
        wait_until("who has no secret is not let in", lambda: status("late") == 401, 20)
        assert status("rotated") == 207
    finally:
        pod.stop()
