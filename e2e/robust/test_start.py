"""What a user sees when a start cannot work: an exit code, the thing's name, and what to do. Quickly."""

import os
import signal
import socket
import subprocess
import time

import deltalake
import pytest
from lib import artifacts, manifest
from lib.clients import place_of
from lib.process import free_ports, wait_until
from lib.vdt import Vdt, binary, http, run
from robust.conftest import FAILURE, USAGE, refused

LOOPBACK = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]


def test_help_and_version():
    for command in ([], ["serve"], ["plan"], ["inspect"], ["validate"], ["completions"]):
        assert run(*command, "--help").returncode == 0, command
    assert run("--version").stdout.startswith("vdt")
    assert "vdt" in run("completions", "bash").stdout


def test_memory_is_committed_when_it_is_used():
    """What `.cargo/config.toml` asks of the allocator has reached the binary: decision 13."""
    done = run("--version", env={"MIMALLOC_VERBOSE": "1"})
    assert "option 'arena_eager_commit': 0" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "args", [["serve", "--no-such-flag"], ["no-such-command"], ["serve"], ["serve", "x", "--listen", "nonsense"]]
)
def test_bad_usage_is_2(args, tmp_path):
    refused(USAGE, *args, cwd=tmp_path)


def test_folder_that_is_not_there(tmp_path):
    nowhere = tmp_path / "nowhere"
    refused(USAGE, "serve", nowhere, "--state", tmp_path / "state", *LOOPBACK, says=["no folder", nowhere])


BAD_MANIFESTS = {
    "not-yaml": ("{", ["bad.yaml"]),
    "empty": ("", ["bad.yaml"]),
    "another-kind": ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", ["bad.yaml"]),
    "no-sources": (manifest.virtual_table("t", []), ["spec.sources"]),
    "typo": (manifest.virtual_table("t", [manifest.folder("files")], refesh={}), ["refesh", "refresh"]),
    "unknown-type": (manifest.virtual_table("t", [{"name": "a", "type": "FTP"}]), ["FTP", "S3"]),
    "wrong-branch": (manifest.virtual_table("t", [{"name": "a", "type": "S3", "file": {"path": "x"}}]), ["s3"]),
    "dotdot": (manifest.virtual_table("t", [manifest.folder("a/../../etc")]), ["spec.sources[0].file.path", ".."]),
    "absolute": (manifest.virtual_table("t", [manifest.folder("/etc")]), ["spec.sources[0].file.path", "relative"]),
    "meta-name": (manifest.virtual_table("t", [manifest.folder("f")], table={"name": "x_meta"}), ["_meta"]),
    "bad-quantity": (
        manifest.virtual_table("t", [manifest.folder("f")], layout={"inlineMaxBytes": "256 MB"}),
        ["spec.layout.inlineMaxBytes"],
    ),
    "two-sources-of-one-name": (
        manifest.virtual_table("t", [manifest.folder("f"), manifest.folder("g")]),
        ["files"],
    ),
    "not-built-yet": (
        manifest.virtual_table("t", [manifest.folder("f")], checksum="SHA256"),
        ["checksum"],
    ),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_bad_manifest_is_2_and_names_the_field(name, tmp_path):
    content, says = BAD_MANIFESTS[name]
    path = tmp_path / "bad.yaml"
    path.write_text(content) if isinstance(content, str) else manifest.write(path, content)
    refused(USAGE, "serve", path, "--state", tmp_path / "state", *LOOPBACK, says=says)
    if name != "not-built-yet":  # the resource allows it, so `validate` does
        refused(USAGE, "validate", path, says=says)


def test_all_violations_are_told_at_once(tmp_path):
    layout = {"inlineMaxBytes": "2Gi", "fileTargetBytes": "1Mi", "rowGroupTargetBytes": "2Mi"}
    table = manifest.virtual_table("t", [manifest.folder("/etc")], layout=layout, table={"name": "x_meta"})
    path = manifest.write(tmp_path / "bad.yaml", table)
    fields = ["spec.sources[0].file.path", "spec.layout.inlineMaxBytes", "rowGroupTargetBytes", "spec.table.name"]
    refused(USAGE, "validate", path, says=fields)


def test_examples_are_valid():
    from lib.vdt import REPOSITORY

    for example in sorted((REPOSITORY / "examples").glob("*.yaml")):
        assert run("validate", example).returncode == 0, example


def test_two_tables_of_one_name_are_refused(tmp_path, folder):
    table = manifest.virtual_table("files", [manifest.folder("files")])
    a, b = manifest.write(tmp_path / "a.yaml", table), manifest.write(tmp_path / "b.yaml", table)
    refused(USAGE, "serve", a, b, "--state", tmp_path / "state", *LOOPBACK, says=["main.default.files", a, b])


def test_folder_of_manifests(tmp_path, folder, serve):
    (tmp_path / "m").mkdir()
    for name in ("one", "two"):
        manifest.write(tmp_path / "m" / f"{name}.yaml", manifest.virtual_table(name, [manifest.folder("files")]))
    (tmp_path / "m" / "files").symlink_to(folder)
    vdt = serve(args=["--manifests", tmp_path / "m"])
    assert {t["name"] for t in vdt.ready["tables"]} == {"one", "two"}


def test_a_folder_is_of_artifacts_though_it_holds_manifests(tmp_path, folder, serve):
    written = manifest.write(folder / "t.yaml", manifest.virtual_table("one", [manifest.folder(".")]))
    artifacts.settle(written)
    vdt = serve(folder)
    (t,) = vdt.ready["tables"]
    assert (t["name"], t["artifacts"]) == ("files", 4)
    place = place_of(vdt.table("files"))
    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options()).to_pyarrow_table()
    rows = zip(table["filename"].to_pylist(), table["data"].to_pylist(), strict=True)
    assert dict(rows)["t.yaml"] == written.read_bytes()


def test_port_in_use(tmp_path, folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        taken = f"127.0.0.1:{s.getsockname()[1]}"
        args = ("serve", folder, "--state", tmp_path / "state")
        refused(FAILURE, *args, "--listen", taken, "--admin-listen", "127.0.0.1:0", says=[taken, "in use"])
        refused(FAILURE, *args, "--listen", "127.0.0.1:0", "--admin-listen", taken, says=[taken, "in use"])


def test_other_addresses_than_loopback_need_a_word(tmp_path, folder):
    args = ("serve", folder, "--state", tmp_path / "state", "--admin-listen", "127.0.0.1:0", "--listen", "0.0.0.0:0")
    refused(USAGE, *args, says=["spec.server.access", "--allow-anonymous"])


def test_state_locked_by_another_process(tmp_path, folder, serve):
    serve(folder)
    refused(FAILURE, "serve", folder, "--state", tmp_path / "state", *LOOPBACK, says=[tmp_path / "state"])


def test_a_table_of_another_resource_is_refused_and_kept(tmp_path, folder, serve):
    def named(name):
        table = manifest.virtual_table(name, [manifest.folder("files")], table={"name": "shared"})
        return manifest.write(tmp_path / f"{name}.yaml", table)

    serve(named("one")).stop()
    args = ("serve", named("two"), "--state", tmp_path / "state", *LOOPBACK)
    refused(FAILURE, *args, says=["default/one", "default/two"])
    assert serve(named("one")).ready["tables"][0]["name"] == "shared"


def test_state_of_a_newer_version(tmp_path, folder, serve):
    serve(folder).stop()
    store = tmp_path / "state" / "store.json"
    text = store.read_text()
    import json

    content = json.loads(text)
    number = [k for k, v in content.items() if isinstance(v, int)]
    assert number, f"no version number in store.json: {text}"
    store.write_text(json.dumps(content | {k: 999 for k in number}))
    refused(FAILURE, "serve", folder, "--state", tmp_path / "state", *LOOPBACK, says=["999"])
    store.write_text(text)
    serve(folder).stop()


def test_source_inside_of_the_state_is_refused_and_kept(tmp_path):
    papers = tmp_path / "all" / "papers"
    papers.mkdir(parents=True)
    names = ["report.json#1", "x.parquet#7"]
    for name in names:
        (papers / name).write_text(name)
    for _ in range(2):
        refused(USAGE, "serve", papers, "--state", tmp_path / "all", *LOOPBACK, says=["--state", papers])
    assert sorted(p.name for p in papers.iterdir()) == names
    assert [p.name for p in (tmp_path / "all").iterdir()] == ["papers"]


def test_a_known_table_is_served_while_its_folder_is_away(tmp_path, folder, serve):
    path = manifest.write(tmp_path / "t.yaml", manifest.virtual_table("files", [manifest.folder("files")]))
    before = serve(path)
    known = before.ready["tables"][0]
    before.stop()
    away = folder.rename(tmp_path / "elsewhere")
    vdt = serve(path)
    shown = vdt.ready["tables"][0]
    assert [shown[key] for key in ("version", "artifacts")] == [known[key] for key in ("version", "artifacts")]
    condition = vdt.tables()[0]["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("False", "SourceNotFound"), condition
    assert http("GET", f"{vdt.table('files').http}/_delta_log/00000000000000000000.json")[0] == 200
    away.rename(folder)
    wait_until("its folder is listed", lambda: vdt.tables()[0]["conditions"][0]["status"] == "True", 70)


@pytest.mark.parametrize(
    "columns, says",
    [
        ([{"name": "n", "type": "long", "from": {"constant": "abc"}}], "columns[0].from.constant"),
        ([{"name": n, "from": {"artifact": "Id"}} for n in ("ID", "id")], "columns[1].name"),
        ([{"name": "data", "from": {"artifact": "Data"}}], "columns: need a column beside"),
        ([{"name": "ü" * 200, "from": {"artifact": "Id"}}], "columns[0].name"),
    ],
)
def test_columns_that_make_no_table_are_refused_by_validate_and_serve_alike(tmp_path, folder, columns, says):
    table = manifest.virtual_table("files", [manifest.folder("files")], schema={"columns": columns})
    path = manifest.write(tmp_path / "t.yaml", table)
    refused(USAGE, "validate", path, says=[says])
    refused(USAGE, "serve", path, "--state", tmp_path / "state", *LOOPBACK, says=[says])


def test_state_inside_of_the_source_is_refused(folder):
    refused(USAGE, "serve", folder, "--state", folder / "state", *LOOPBACK, says=["--state", folder / "state"])
    assert not (folder / "state").exists()


@pytest.fixture
def bucket_manifest(tmp_path, seaweed):
    """`write(bucket=, endpoint=, key=)` gives a manifest over a bucket, and its arguments."""

    def write(bucket="corp-start", endpoint=None, secret_key=None):
        secrets = seaweed.secrets_dir(tmp_path / "secrets", secret_key=secret_key)
        table = manifest.virtual_table(
            "bucket", [manifest.bucket(bucket, endpoint or seaweed.endpoint)], refresh=manifest.ON_REQUEST
        )
        path = manifest.write(tmp_path / "bucket.yaml", table)
        return path, ["--secrets-dir", secrets]

    seaweed.ensure_bucket("corp-start")
    seaweed.upload("corp-start", {"a.pdf": b"%PDF a"})
    return write


def test_bucket_that_is_not_there(tmp_path, bucket_manifest):
    path, args = bucket_manifest(bucket="no-such-bucket")
    refused(FAILURE, "serve", path, "--state", tmp_path / "state", *LOOPBACK, *args, says=["no-such-bucket"])


def test_wrong_key(tmp_path, bucket_manifest):
    path, args = bucket_manifest(secret_key="wrong")
    text = refused(FAILURE, "serve", path, "--state", tmp_path / "state", *LOOPBACK, *args, says=["corp-start"])
    assert "wrong" not in text.replace("wrong key", ""), "a secret in the output"


def test_missing_secret(tmp_path, bucket_manifest):
    path, _ = bucket_manifest()
    (tmp_path / "nothing here").mkdir()
    for args in ([], ["--secrets-dir", tmp_path / "nothing here"]):
        refused(FAILURE, "serve", path, "--state", tmp_path / "state", *LOOPBACK, *args, says=["bucket-ro"])


def test_endpoint_that_is_down(tmp_path, bucket_manifest):
    path, args = bucket_manifest(endpoint=f"http://127.0.0.1:{free_ports(1)[0]}")
    refused(FAILURE, "serve", path, "--state", tmp_path / "state", *LOOPBACK, *args, says=["127.0.0.1"])


def test_endpoint_without_the_tls_that_was_asked_for(tmp_path, bucket_manifest, seaweed):
    path, args = bucket_manifest(endpoint=seaweed.endpoint.replace("http://", "https://"))
    refused(FAILURE, "serve", path, "--state", tmp_path / "state", *LOOPBACK, *args, says=[seaweed.host])


def test_with_a_known_table_a_source_that_is_down_leaves_the_last_version_standing(tmp_path, bucket_manifest, serve):
    path, args = bucket_manifest()
    serve(path, args=args).stop()
    path, args = bucket_manifest(endpoint=f"http://127.0.0.1:{free_ports(1)[0]}")
    vdt = serve(path, args=args)
    place = place_of(vdt.table("bucket"))
    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
    assert (table.version(), table.count()) == (0, 1)


def test_s3_url_with_ambient_credentials(tmp_path, seaweed, serve):
    seaweed.create_bucket("corp-url")
    seaweed.upload("corp-url", {"manuals/a.pdf": b"%PDF a", "manuals/b/c.pdf": b"%PDF c", "other/x.pdf": b"no"})
    import time

    time.sleep(3.1)  # settleSeconds, and the whole seconds of S3's clock
    vdt = serve("s3://corp-url/manuals", env=seaweed.environment())
    t = vdt.table("manuals")
    place = place_of(t)
    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
    rows = table.to_pyarrow_dataset().to_table(columns=["filename", "url", "data"]).to_pylist()
    assert sorted((r["filename"], r["url"], r["data"]) for r in rows) == [
        ("a.pdf", "s3://corp-url/manuals/a.pdf", b"%PDF a"),
        ("b/c.pdf", "s3://corp-url/manuals/b/c.pdf", b"%PDF c"),
    ]


def piped(*args, stdout) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output is `stdout`."""
    done = subprocess.run([binary(), *map(str, args)], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=45)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["plan", "plan -o json", "completions bash", "validate"])
def test_output_that_nobody_reads_is_a_quiet_end_and_a_full_disk_an_error(tmp_path, folder, on_request, command):
    given = {"plan": [folder], "validate": [on_request]}.get(command.split()[0], [])
    read, write = os.pipe()
    os.close(read)
    try:
        assert piped(*command.split(), *given, stdout=write) == (0, "")
    finally:
        os.close(write)
    with open("/dev/full", "w") as full:
        code, said = piped(*command.split(), *given, stdout=full)
    assert code == FAILURE and said.startswith("error: writing to standard output"), said


def test_a_cache_inside_of_the_source(tmp_path, folder):
    refused(USAGE, "serve", folder, "--cache-dir", folder / "cache", *LOOPBACK, says=["cache folder", "--cache-dir outside"])


def test_another_folder_of_the_same_name_does_not_take_the_table_over(tmp_path, folder, serve):
    serve(folder).stop()
    other = tmp_path / "other" / "files"
    other.mkdir(parents=True)
    (other / "x.pdf").write_bytes(b"x")
    says = ["belongs to", folder, other, "give another --state or a manifest with spec.table"]
    refused(FAILURE, "serve", other, "--state", tmp_path / "state", *LOOPBACK, says=says)
    assert serve(folder).ready["tables"][0]["artifacts"] == 3


def test_what_would_only_be_found_after_a_listing(tmp_path, folder):
    nowhere = tmp_path / "nowhere"
    refused(USAGE, "serve", folder, "--ready-file", nowhere / "ready", *LOOPBACK, says=["--ready-file", nowhere])
    refused(USAGE, "serve", folder, "--secrets-dir", nowhere, *LOOPBACK, says=["--secrets-dir", nowhere])
    refused(USAGE, "--log", "wran", "plan", folder, says=["wran", "info"])


def test_flags_of_folders_are_not_for_manifests(tmp_path, on_request):
    says = ["--on-shrink", "spec.refresh.onShrink"]
    refused(USAGE, "serve", on_request, "--on-shrink", "apply", *LOOPBACK, says=says)


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_variable_that_says_no_is_not_set(folder, serve, value):
    serve(folder, env={"VDT_NO_CACHE": value, "VDT_STATE": ""}, args=["--cache-memory", "64Mi"])


def test_a_second_signal_ends_what_the_first_waits_for(tmp_path, serve):
    artifacts.write_folder(tmp_path / "big", {f"{i}.bin": bytes(20_000_000) for i in range(5)})
    vdt = serve(tmp_path / "big")
    place = place_of(vdt.table("big"))
    file = deltalake.DeltaTable(place.uri, storage_options=place.storage_options()).file_uris()[0]
    host, port = vdt.listen.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as reader:
        target = f"/v1/{file.removeprefix('s3://')}"
        reader.sendall(f"GET {target} HTTP/1.1\r\nHost: {vdt.listen}\r\n\r\n".encode())
        assert reader.recv(15).startswith(b"HTTP/1.1 200")
        os.kill(vdt.process.pid, signal.SIGINT)
        wait_until("it says what it waits for", lambda: "Ctrl-C again" in vdt.process.output(), 10)
        os.kill(vdt.process.pid, signal.SIGINT)  # an echo, as of timeout(1)
        time.sleep(0.7)
        assert vdt.process.exit_code() is None
        os.kill(vdt.process.pid, signal.SIGINT)
        wait_until("it ends", lambda: vdt.process.exit_code() is not None, 10)
    assert vdt.process.exit_code() == 128 + signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_first_listing(tmp_path, number):
    """Of a service that takes requests and never answers. As the first process of a container it would not be ended by default."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        vdt = Vdt("s3://corp", state=tmp_path / "state", work=tmp_path / "run", env=keys).spawn()
        try:
            connection, _ = silent.accept()
            os.kill(vdt.process.pid, number)
            assert vdt.process.wait(10) == 128 + number
            connection.close()
        finally:
            vdt.kill()


def test_ready_file_says_where(tmp_path, folder, serve):
    vdt = serve(folder)
    (t,) = vdt.ready["tables"]
    assert t == {
        "catalog": "main",
        "schema": "default",
        "name": "files",
        "s3": "s3://main/default/files",
        "http": f"http://{vdt.listen}/v1/main/default/files",
        "version": 0,
        "artifacts": 3,
    }


def test_nothing_is_served_before_the_ready_file(tmp_path, folder):
    vdt = Vdt(folder, state=tmp_path / "state", work=tmp_path / "run").start()
    try:
        assert vdt.admin("GET", "/readyz")[0] == 200
        assert vdt.admin("GET", "/healthz")[0] == 200
    finally:
        vdt.stop()
