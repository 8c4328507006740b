"""The JSON of the admin listener, as the operator reads it."""

import json
import shutil

import pytest
from lib import artifacts, manifest
from lib.vdt import Vdt


@pytest.fixture
def server(tmp_path):
    artifacts.write_folder(tmp_path / "files", {f"{n}.bin": bytes([n]) * (1000 + n) for n in range(8)})
    # Small files and row groups, so that there are several.
    layout = {"fileTargetBytes": "1Mi", "rowGroupTargetBytes": "1Mi"}
    artifacts.write_folder(tmp_path / "files", {f"big-{n}.bin": bytes([n]) * 900_000 for n in range(4)})
    table = manifest.virtual_table("files", [manifest.folder("files")], refresh=manifest.ON_REQUEST, layout=layout)
    with Vdt(manifest.write(tmp_path / "t.yaml", table), state=tmp_path / "state", work=tmp_path / "run") as vdt:
        yield vdt


def get(server, path):
    status, body = server.admin("GET", path)
    assert status == 200, (path, status, body)
    return json.loads(body)


def sources_ready(server) -> dict:
    (table,) = server.tables()
    return next(c for c in table["conditions"] if c["type"] == "SourcesReady")


def test_a_table_and_its_conditions(server, tmp_path):
    (table,) = server.tables()
    assert (table["table"], table["version"], table["artifacts"]) == ("main/default/files", 0, 12)
    assert isinstance(table["lagSeconds"], int) and table["lastSuccess"].endswith("Z")
    assert table["sources"] == [
        {"name": "files", "status": "True", "reason": "Listed", "message": table["sources"][0]["message"], "artifacts": 12}
    ]
    well = sources_ready(server)
    assert (well["status"], well["reason"]) == ("True", "Listed")

    server.refresh()
    assert sources_ready(server) == well, "the time of a condition is kept while its status is"

    # A source that lost nearly everything is held, and says so.
    for file in list((tmp_path / "files").iterdir())[1:]:
        shutil.move(file, tmp_path / file.name)
    server.refresh()
    held = sources_ready(server)
    assert (held["status"], held["reason"]) == ("False", "SourceShrunk")
    assert held["lastTransitionTime"] >= well["lastTransitionTime"]
    assert "files: " in held["message"]
    (table,) = server.tables()
    assert (table["sources"][0]["status"], table["sources"][0]["reason"]) == ("False", "Shrunk")
    assert table["artifacts"] == 12

    for file in tmp_path.glob("*.bin"):
        shutil.move(file, tmp_path / "files" / file.name)
    server.refresh()
    again = sources_ready(server)
    assert again["status"] == "True"
    assert again["lastTransitionTime"] >= held["lastTransitionTime"]


def test_files_come_in_pages(server):
    base = "/api/v1/tables/main/default/files/files"
    whole = get(server, base)
    assert whole["table"] == "main/default/files" and whole["version"] == 0
    assert whole["count"] == len(whole["files"]) >= 2
    assert whole["bytes"] == sum(f["bytes"] for f in whole["files"])
    assert sum(f["rows"] for f in whole["files"]) == 12
    assert all(1 <= f["rowGroups"] <= f["rows"] for f in whole["files"])
    assert "next" not in whole
    names, after = [], ""
    while True:
        page = get(server, f"{base}?limit=1&after={after}")
        names += [f["name"] for f in page["files"]]
        if "next" not in page:
            break
        after = page["next"]
    assert names == sorted(f["name"] for f in whole["files"])
    twin = get(server, "/api/v1/tables/main/default/files_meta/files")
    assert sum(f["rows"] for f in twin["files"]) == 12
    assert server.admin("GET", "/api/v1/tables/main/default/none/files")[0] == 404
    assert server.admin("GET", "/api/v1/tables/main/default/..%2F..%2Fx/files")[0] == 404


def test_a_file_is_drawn(server):
    base = "/api/v1/tables/main/default/files/files"
    for file in get(server, base)["files"]:
        rope = get(server, f"{base}/{file['name']}")
        assert (rope["name"], rope["bytes"]) == (file["name"], file["bytes"])
        at = 0
        for span in rope["spans"]:
            assert span["offset"] == at and span["kind"] in ("literal", "zeros", "reference")
            at += span["length"]
        assert at == file["bytes"] == sum(rope["total"].values())
        assert sum(span["references"] for span in rope["spans"]) == file["rows"]
        assert all(("key" in span) == (span["kind"] == "reference") for span in rope["spans"])
        assert rope["total"]["zeros"] >= 512 * 1024
    name = get(server, base)["files"][0]["name"]
    for wrong in ("x.parquet", name.replace(name[:8], "00000000"), "..%2F..%2Fstore.json", "_delta_log"):
        assert server.admin("GET", f"{base}/{wrong}")[0] == 404, wrong


def test_files_follow_a_refresh(server, tmp_path):
    base = "/api/v1/tables/main/default/files/files"
    before = get(server, base)
    (tmp_path / "files" / "new.bin").write_bytes(b"new")
    server.refresh()
    after = get(server, base)
    assert after["version"] == before["version"] + 1
    assert sum(f["rows"] for f in after["files"]) == 13
