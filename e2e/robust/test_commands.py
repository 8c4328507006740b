"""The commands that only look, `plan` and `inspect`: what they say is what is served. And how progress and logs look."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import deltalake
import pytest
from lib import manifest
from lib.artifacts import noise, write_file, write_folder
from lib.clients import place_of
from lib.process import wait_until
from lib.vdt import binary, environment, http, run
from robust.conftest import FILES, USAGE, refused

TABLE = "main/default/files"


def printed(*args, **options):
    """What a command prints as JSON."""
    done = run(*args, "--output", "json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def open_table(vdt, version=None) -> deltalake.DeltaTable:
    place = place_of(vdt.table("files"))
    return deltalake.DeltaTable(place.uri, version=version, storage_options=place.storage_options())


def sizes(vdt, version=None) -> dict[str, int]:
    """Bytes by data file, as the log has them."""
    actions = open_table(vdt, version).get_add_actions(flatten=True)
    return dict(zip(actions.column("path").to_pylist(), actions.column("size_bytes").to_pylist(), strict=True))


@pytest.fixture
def grown(serve, on_request, folder):
    """A table of two versions and two files; the arguments that look into its state."""
    vdt = serve(on_request)
    write_file(folder / "d.pdf", b"%PDF-1.4 d")
    vdt.refresh()
    assert [len(sizes(vdt, version)) for version in (0, 1)] == [1, 2]
    return vdt, ["inspect", "--state", vdt.state]


def test_inspect_lists_the_tables_of_a_state(grown):
    vdt, inspect = grown
    table, meta = printed(*inspect)
    found = sizes(vdt)
    assert table == {"table": TABLE, "version": 1, "files": 2, "bytes": sum(found.values())}
    assert (meta["table"], meta["version"]) == (TABLE + "_meta", 1)


@pytest.mark.parametrize("version", [None, 0, 1])
def test_inspect_shows_the_files_of_a_version(grown, version):
    vdt, inspect = grown
    at = [] if version is None else ["--at", version]
    shown = printed(*inspect, TABLE, *at)
    expected = sizes(vdt, version)
    assert (shown["table"], shown["version"]) == (TABLE, 1 if version is None else version)
    assert {file["path"]: file["bytes"] for file in shown["files"]} == expected
    log = open_table(vdt, version)
    assert shown["metadata"]["id"] == log.metadata().id
    assert json.loads(shown["metadata"]["schemaString"]) == json.loads(log.schema().to_json())
    head, *lines = run(*inspect, TABLE, *at).stdout.splitlines()
    assert head == f"{TABLE} version {shown['version']}"
    assert [line.split()[0] for line in lines] == [file["path"] for file in shown["files"]]


def test_inspect_of_what_is_not_there_says_what_is(grown):
    vdt, inspect = grown
    refused(USAGE, *inspect, TABLE, "--at", "2", says=["no version 2", "the newest is 1"])
    refused(USAGE, *inspect, "--at", "0", says=["<TABLE>"])
    refused(USAGE, *inspect, "main/default/nothing", says=["main/default/nothing", vdt.state])
    newer = next(path for path in sizes(vdt) if path not in sizes(vdt, 0))
    refused(USAGE, *inspect, TABLE, "--at", "0", "--file", newer, says=[newer])


def test_inspect_takes_a_file_to_pieces(grown):
    vdt, inspect = grown
    ((path, size),) = sizes(vdt, 0).items()
    pieces = printed(*inspect, TABLE, "--file", path)
    served = http("GET", f"{vdt.table('files').http}/{path}")[2]
    end, artifacts = 0, {}
    for piece in pieces:
        assert piece["start"] == end, piece
        end += piece["bytes"]
        if piece["kind"] == "reference":
            artifact = FILES[piece["key"]][piece["offset"] :][: piece["bytes"]]
            assert served[piece["start"] : end] == artifact, piece
            artifacts[piece["key"]] = artifacts.get(piece["key"], 0) + piece["bytes"]
        elif piece["kind"] == "zeros":
            assert not any(served[piece["start"] : end]), piece
    assert end == size == len(served)
    assert artifacts == {name: len(data) for name, data in FILES.items()}


def test_plan_reckons_what_a_new_table_is_made_of(tmp_path, serve):
    write_folder(tmp_path / "files", {f"{i}.bin": noise(i, 50_000) for i in range(5)})
    layout = {"rowGroupTargetBytes": "64Ki"}
    table = manifest.virtual_table("files", [manifest.folder("files")], layout=layout, refresh=manifest.ON_REQUEST)
    written = manifest.write(tmp_path / "t.yaml", table)
    (plan,) = printed("plan", written)
    vdt = serve(written)
    ((path, size),) = sizes(vdt).items()
    pieces = printed("inspect", "--state", vdt.state, TABLE, "--file", path)
    summed = {kind: sum(p["bytes"] for p in pieces if p["kind"] == kind) for kind in ("literal", "reference")}
    (fragment,) = open_table(vdt).to_pyarrow_dataset().get_fragments()
    (rope,) = (vdt.state / TABLE).glob("*.rope")
    assert fragment.metadata.num_row_groups > 1
    assert plan["rowGroups"] == fragment.metadata.num_row_groups
    assert (plan["files"], plan["fileBytes"], plan["stateBytes"]) == (1, size, rope.stat().st_size)
    assert (plan["literalBytes"], plan["artifactBytes"]) == (summed["literal"], summed["reference"])
    assert plan["warnings"] == []
    # What is served already does not count.
    assert printed("plan", written) == [plan]


def test_plan_warns_of_archived_objects(tmp_path, seaweed):
    seaweed.create_bucket("archive")
    for name, storage_class in {"a.pdf": "GLACIER", "b.pdf": "DEEP_ARCHIVE", "c.pdf": "STANDARD"}.items():
        seaweed.client().put_object(Bucket="archive", Key=name, Body=b"%PDF", StorageClass=storage_class)
    table = manifest.virtual_table(
        "files", [manifest.bucket("archive", seaweed.endpoint)], refresh=manifest.ON_REQUEST
    )
    args = ["plan", manifest.write(tmp_path / "t.yaml", table), "--secrets-dir", seaweed.secrets_dir(tmp_path / "s")]
    (plan,) = printed(*args)
    assert (plan["artifacts"], plan["archived"], plan["overInlineMax"]) == (3, 2, 0)
    warning = "2 artifacts in an archived storage class and would have data null until restored"
    assert plan["warnings"] == [warning]
    assert warning in run(*args).stdout


def test_logs_are_json_where_asked(serve, on_request, folder):
    vdt = serve(on_request, args=["--log", "info", "--log-format", "json"])
    write_file(folder / "d.pdf", b"%PDF-1.4 d")
    vdt.refresh()
    vdt.stop()
    # What is printed for people has no braces at the beginning of a line.
    logged = [json.loads(line) for line in vdt.process.output().splitlines() if line.startswith("{")]
    assert all({"timestamp", "level", "target", "fields"} <= set(entry) for entry in logged)
    said = [(entry["level"], entry["target"], entry["fields"]["message"].split(":")[0]) for entry in logged]
    assert ("INFO", "vdt_store::schedule", "committed a version") in said
    assert ("INFO", "vdt::serve", "stopping") in said
    assert " INFO " not in vdt.process.output()


@pytest.fixture
def patient_bucket():
    """An empty bucket that answers once it is told to: its endpoint, and the word."""
    answered = threading.Event()

    class Bucket(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            answered.wait(30)
            body = b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answered
    answered.set()
    server.shutdown()
    server.server_close()


def test_progress_is_a_live_line_on_a_terminal_and_gone_in_the_end(patient_bucket):
    endpoint, answered = patient_bucket
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    env = environment(keys | {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "TERM": "xterm"})
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.set_blocking(ours, False)
    argv = [binary(), "plan", "s3://patient/files"]
    with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal) as child:
        os.close(terminal)
        seen = b""

        def read() -> bool:
            """Whether all has been read."""
            nonlocal seen
            try:
                while piece := os.read(ours, 65536):
                    seen += piece
            except BlockingIOError:
                return False
            except OSError:  # nobody holds the terminal any more
                pass
            return True

        try:
            wait_until("the listing is shown", lambda: read() or b"listing files" in seen, 20)
            assert child.poll() is None, seen
            answered.set()
            wait_until("the command has ended", read, 20)
            report = child.stdout.read().decode()
            child.wait(20)
        finally:
            child.kill()
            os.close(ours)
    assert child.returncode == 0, seen
    line, erased, rest = seen.decode().rpartition("\x1b[2K")
    assert "listing files" in line and erased and not rest.strip(), f"the line is not erased: {seen!r}"
    assert report.startswith(TABLE + "\n") and "\x1b" not in report, report


def test_progress_is_not_drawn_where_there_is_no_terminal(folder):
    done = run("plan", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
