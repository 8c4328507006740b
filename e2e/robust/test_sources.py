"""What lies in sources: nothing, odd names, links, what changes, what vanishes."""

import json
import os
import shutil
from pathlib import Path

import deltalake
import pyarrow
import pytest
from robust.conftest import FILES
from lib import artifacts, manifest
from lib.artifacts import write_file
from lib.clients import place_of
from lib.vdt import http, run


def open_table(vdt, name):
    place = place_of(vdt.table(name))
    return deltalake.DeltaTable(place.uri, storage_options=place.storage_options())


def data_file(vdt, name="files") -> str:
    return pyarrow.table(open_table(vdt, name).get_add_actions(flatten=True)).to_pydict()["path"][0]


def rows(vdt, name="files", columns=("filename", "data")):
    table = open_table(vdt, name).to_pyarrow_dataset().to_table(columns=list(columns))
    return list(zip(*(c.to_pylist() for c in table.columns), strict=True))


def test_empty_folder_is_an_empty_table(tmp_path, serve):
    (tmp_path / "empty").mkdir()
    vdt = serve(tmp_path / "empty")
    assert vdt.table("empty").artifacts == 0
    assert rows(vdt, "empty") == []
    assert [f.name for f in open_table(vdt, "empty").schema().fields][:2] == ["id", "filename"]
    write_file(tmp_path / "empty" / "first.pdf", b"%PDF")
    vdt.refresh()
    assert rows(vdt, "empty") == [("first.pdf", b"%PDF")]


def test_folder_with_odd_names(tmp_path, serve):
    files = {n: n.encode() for n in [*artifacts.ODD_NAMES, "back\\slash.pdf"]}
    artifacts.write_folder(tmp_path / "files", files)
    for skipped in ("new\nline.pdf", "tab\there.pdf", "bell\x07"):
        write_file(tmp_path / "files" / skipped, b"left out")
    raw = os.path.join(os.fsencode(tmp_path / "files"), b"not \xff utf-8.pdf")
    with open(raw, "wb") as f:
        f.write(b"left out")
    then = os.stat(tmp_path / "files" / "no extension").st_mtime
    os.utime(raw, (then, then))
    vdt = serve(tmp_path / "files")
    assert dict(rows(vdt)) == files
    plan = run("plan", tmp_path / "files")
    assert plan.returncode == 0
    assert "utf-8" in (plan.stdout + plan.stderr).lower(), "what was left out is reported"


def test_names_that_are_not_utf8_are_counted_and_told(serve, folder):
    for name in (b"not \xff utf-8.pdf", b"nor \xfe this.pdf"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as f:
            f.write(b"left out")
    vdt = serve(folder)
    assert len(rows(vdt)) == len(FILES)
    assert "warning: source folder: 2 keys left out: names that are not UTF-8" in vdt.process.output()
    (source,) = vdt.tables()[0]["sources"]
    assert source["skipped"] == {"names that are not UTF-8": 2}
    metrics = vdt.admin("GET", "/metrics")[1].decode().splitlines()
    (skipped,) = [line for line in metrics if line.startswith("vdt_source_skipped_keys{")]
    assert 'source="folder"' in skipped and skipped.endswith(" 2"), skipped


def test_folder_names_become_table_names(tmp_path, serve):
    folder = tmp_path / "My Papers (2026)"
    write_file(folder / "a.pdf", b"%PDF")
    vdt = serve(folder)
    (t,) = vdt.ready["tables"]
    assert t["name"].isascii() and t["name"][0].isalpha() and t["name"] == t["name"].lower()
    assert rows(vdt, t["name"]) == [("a.pdf", b"%PDF")]


def test_links_are_followed_only_inside_of_the_root(tmp_path, serve):
    write_file(tmp_path / "outside" / "secret.pdf", b"secret")
    root = tmp_path / "files"
    write_file(root / "dir" / "a.pdf", b"%PDF a")
    (root / "inside.pdf").symlink_to("dir/a.pdf")
    (root / "linked dir").symlink_to("dir")
    (root / "outside.pdf").symlink_to(tmp_path / "outside" / "secret.pdf")
    (root / "outside dir").symlink_to(tmp_path / "outside")
    (root / "dangling.pdf").symlink_to("nowhere")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "fifo")
    vdt = serve(root)
    served = dict(rows(vdt))
    assert served["dir/a.pdf"] == served["inside.pdf"] == b"%PDF a"
    assert b"secret" not in served.values()
    assert not {"outside.pdf", "dangling.pdf", "fifo"} & set(served)


def test_a_link_that_turns_away_after_the_listing_is_not_followed(tmp_path, serve, on_request, folder):
    vdt = serve(on_request)
    secret = b"secret".ljust(len(FILES["a.pdf"]))
    write_file(tmp_path / "outside.bin", secret)
    (folder / "a.pdf").unlink()
    (folder / "a.pdf").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(OSError):  # noqa: PT011 delta-rs says what the server said
        rows(vdt)
    status, _, body = http("GET", f"{vdt.table('files').http}/{data_file(vdt)}")
    assert status != 200 and secret not in body


def test_a_source_that_is_suddenly_empty_is_held(tmp_path, serve, on_request, folder):
    vdt = serve(on_request)
    shutil.move(folder, tmp_path / "elsewhere")
    status, _ = vdt.admin("POST", "/refresh?wait=true")
    folder.mkdir()
    vdt.refresh()
    assert open_table(vdt, "files").version() == 0, status
    assert len(rows(vdt, columns=["filename"])) == 3
    vdt.stop()
    vdt = serve(on_request)  # held across restarts
    assert open_table(vdt, "files").count() == 3
    folder.rmdir()
    shutil.move(tmp_path / "elsewhere", folder)
    vdt.refresh()
    assert len(rows(vdt)) == 3


def test_on_shrink_apply_takes_it_as_it_is(tmp_path, serve, folder):
    table = manifest.virtual_table(
        "files", [manifest.folder("files")], refresh=manifest.ON_REQUEST | {"onShrink": "Apply"}
    )
    vdt = serve(manifest.write(tmp_path / "t.yaml", table))
    for p in list(folder.iterdir()):
        shutil.rmtree(p) if p.is_dir() else p.unlink()
    vdt.refresh()
    assert rows(vdt) == []


def test_refresh_without_a_change_makes_no_version(serve, on_request):
    vdt = serve(on_request)
    for _ in range(3):
        vdt.refresh()
    assert open_table(vdt, "files").version() == 0


def test_the_same_key_in_two_sources(tmp_path, serve):
    write_file(tmp_path / "one" / "same.pdf", b"one")
    write_file(tmp_path / "two" / "same.pdf", b"two")
    columns = [
        {"name": "id", "from": {"artifact": "Id"}},
        {"name": "source", "from": {"artifact": "Source"}},
        {"name": "filename", "from": {"artifact": "Filename"}},
        {"name": "data", "from": {"artifact": "Data"}},
    ]
    table = manifest.virtual_table(
        "both", [manifest.folder("one", "one"), manifest.folder("two", "two")], schema={"columns": columns}
    )
    vdt = serve(manifest.write(tmp_path / "t.yaml", table))
    found = rows(vdt, "both", ["id", "source", "filename", "data"])
    assert sorted(found) == [(0, "one", "same.pdf", b"one"), (1, "two", "same.pdf", b"two")]


def test_include_and_exclude(tmp_path, serve):
    for name in ("a.pdf", "b.txt", "sub/c.pdf", "drafts/d.pdf"):
        write_file(tmp_path / "files" / name, name.encode())
    source = manifest.folder("files", include=["**/*.pdf"], exclude=["drafts/**"])
    vdt = serve(manifest.write(tmp_path / "t.yaml", manifest.virtual_table("some", [source])))
    assert {r[0] for r in rows(vdt, "some")} == {"a.pdf", "sub/c.pdf"}


def test_a_manifest_edit_relays_the_table(tmp_path, serve, folder):
    spec = {"refresh": manifest.ON_REQUEST}
    path = tmp_path / "t.yaml"
    manifest.write(path, manifest.virtual_table("files", [manifest.folder("files")], **spec))
    vdt = serve(path)
    before = dict(rows(vdt, columns=["filename", "id"]))
    vdt.stop()
    columns = [
        {"name": "id", "from": {"artifact": "Id"}},
        {"name": "filename", "from": {"artifact": "Filename"}},
        {"name": "tenant", "type": "string", "from": {"constant": "acme"}},
        {"name": "data", "from": {"artifact": "Data"}},
    ]
    manifest.write(
        path, manifest.virtual_table("files", [manifest.folder("files")], schema={"columns": columns}, **spec)
    )
    vdt = serve(path)
    table = open_table(vdt, "files")
    assert [f.name for f in table.schema().fields] == ["id", "filename", "tenant", "data"]
    assert table.version() == 1
    assert dict(rows(vdt, columns=["filename", "id"])) == before
    assert {r[0] for r in rows(vdt, columns=["tenant"])} == {"acme"}


def test_plan_tells_and_writes_nothing(tmp_path, folder):
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        (tmp_path / variable).mkdir()
    env = {v: str(tmp_path / v) for v in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    done = run("plan", folder, "--output", "json", env=env)
    assert done.returncode == 0, done.stderr
    (plan,) = json.loads(done.stdout)
    assert (plan["table"], plan["artifacts"], plan["files"]) == ("main/default/files", 3, 1)
    assert plan["artifactBytes"] == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert [r["filename"] for r in plan["rows"]] == ["a.pdf", "c.bin", "sub/b.pdf"]
    assert not [p for v in env.values() for p in Path(v).rglob("*")]


def test_plan_warns_of_artifacts_that_are_too_large(tmp_path, folder):
    table = manifest.virtual_table("files", [manifest.folder("files")], layout={"inlineMaxBytes": "1Ki"})
    done = run("plan", manifest.write(tmp_path / "t.yaml", table))
    assert done.returncode == 0, done.stderr
    assert "inlineMaxBytes" in done.stdout + done.stderr


def test_inspect_draws_and_materializes_the_file_that_is_served(tmp_path, serve, folder, on_request):
    vdt = serve(on_request)
    path = data_file(vdt)
    served = http("GET", f"{vdt.table('files').http}/{path}")[2]
    state = ["--state", tmp_path / "state"]
    assert "main/default/files" in run("inspect", *state).stdout
    drawn = run("inspect", *state, "main/default/files", "--file", path)
    assert drawn.returncode == 0 and "sub/b.pdf" in drawn.stdout, drawn.stderr
    out = tmp_path / "out.parquet"
    file = ["--file", path, "--materialize", out, "--source", on_request]
    written = run("inspect", *state, "main/default/files", *file)
    assert written.returncode == 0, written.stderr
    assert out.read_bytes() == served
    (folder / "a.pdf").unlink()
    failed = run("inspect", *state, "main/default/files", *file)
    assert failed.returncode != 0
    assert out.read_bytes() == served, "what cannot be written whole leaves what was there"
    assert not list(tmp_path.glob("out.parquet?*"))
    assert run("inspect", *state, "main/default/nothing").returncode != 0


def test_a_damaged_rope_is_refused_and_named(tmp_path, serve, on_request):
    uncached = ["--no-cache"]  # a cache may hold the rope as it was
    vdt = serve(on_request, args=uncached)
    vdt.stop()
    ropes = sorted((tmp_path / "state").rglob("*.rope"))
    ropes = [p for p in ropes if "_meta" not in str(p)]
    assert ropes
    original = ropes[0].read_bytes()
    for damage in (bytes([original[len(original) // 2] ^ 1]), None):
        middle = len(original) // 2
        ropes[0].write_bytes(original[:middle] + damage + original[middle + 1 :] if damage else original[:middle])
        vdt = serve(on_request, args=uncached)
        status, _, body = http("GET", f"{vdt.table('files').http}/{ropes[0].stem}.parquet", seconds=20)
        assert status >= 500, (status, body[:200])
        vdt.stop()
    ropes[0].write_bytes(original)
    assert dict(rows(serve(on_request)))["a.pdf"] == b"%PDF-1.4 a"
