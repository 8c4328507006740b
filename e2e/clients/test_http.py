"""The same files by plain HTTP and WebDAV, under /v1/."""

import xml.etree.ElementTree as ElementTree
from urllib.parse import quote, unquote, urlsplit

import deltalake
import pyarrow
import pytest
from lib.artifacts import sha256
from lib.clients import duckdb_connection
from lib.vdt import http


@pytest.fixture(scope="module")
def files(published):
    """The data files of the table, by relative path."""
    table = deltalake.DeltaTable(published.place.uri, storage_options=published.place.storage_options())
    adds = pyarrow.table(table.get_add_actions(flatten=True)).to_pydict()
    return dict(zip(adds["path"], adds["size_bytes"], strict=True))


def url(published, path=""):
    return f"{published.http.rstrip('/')}/{quote(path)}"


def test_head_and_get_agree_with_the_log(published, files):
    for path, size in files.items():
        status, head, body = http("HEAD", url(published, path))
        assert (status, int(head["content-length"]), body) == (200, size, b"")
        status, headers, body = http("GET", url(published, path))
        assert (status, len(body), headers["etag"]) == (200, size, head["etag"])
        assert body[:4] == body[-4:] == b"PAR1"


def test_ranges(published, files):
    path, size = next(iter(files.items()))
    whole = http("GET", url(published, path))[2]
    for asked, want in {
        "bytes=0-3": whole[:4],
        "bytes=-8": whole[-8:],
        f"bytes={size - 5}-": whole[-5:],
        f"bytes=100-{size * 2}": whole[100:],
        "bytes=7-7": whole[7:8],
    }.items():
        status, headers, body = http("GET", url(published, path), {"Range": asked})
        assert (status, body) == (206, want), asked
        assert headers["content-range"].endswith(f"/{size}")
    status, headers, _ = http("GET", url(published, path), {"Range": f"bytes={size}-"})
    assert (status, headers["content-range"]) == (416, f"bytes */{size}")


def test_conditions(published, files):
    path = next(iter(files))
    etag = http("HEAD", url(published, path))[1]["etag"]
    assert etag.startswith('"')
    assert http("GET", url(published, path), {"If-None-Match": etag})[0] == 304
    assert http("GET", url(published, path), {"If-Match": '"other"'})[0] == 412
    assert http("GET", url(published, path), {"If-Match": etag})[0] == 200


@pytest.mark.parametrize("depth", ["0", "1", "infinity"])
def test_propfind(published, files, depth):
    status, headers, body = http("PROPFIND", url(published), {"Depth": depth})
    assert status == 207 and "xml" in headers["content-type"]
    dav = "{DAV:}"
    found = {}
    for response in ElementTree.fromstring(body).iter(dav + "response"):
        href = unquote(urlsplit(response.findtext(dav + "href")).path)
        length = response.find(f".//{dav}getcontentlength")
        collection = response.find(f".//{dav}resourcetype/{dav}collection") is not None
        found[href.rstrip("/").rsplit("/", 1)[-1]] = (collection, None if length is None else int(length.text))
    name = published.place.uri.rstrip("/").rsplit("/", 1)[-1]
    assert found[name][0], "the table itself is a collection"
    assert all((path in found) == (depth != "0") for path in files)
    assert ("_delta_log" in found) == (depth != "0")
    assert ("00000000000000000000.json" in found) == (depth == "infinity")
    for path, size in files.items():
        if path in found:
            assert found[path] == (False, size)


def test_duckdb_reads_a_file_by_url(published, files):
    connection = duckdb_connection()
    rows = connection.execute(
        "SELECT filename, data FROM read_parquet(?)", [[url(published, p) for p in files]]
    ).fetchall()
    assert {n: sha256(d) for n, d in rows} == {n: sha256(d) for n, d in published.data.items()}


def test_delta_rs_by_webdav(published):
    parts = urlsplit(published.http)
    table = deltalake.DeltaTable(
        f"webdav://{parts.hostname}{parts.path}",
        storage_options={"opendal.endpoint": f"{parts.scheme}://{parts.netloc}"},
    )
    assert table.count() == len(published.objects)
    batches = deltalake.QueryBuilder().register("t", table).execute("SELECT filename, data FROM t").read_all()
    rows = pyarrow.table(batches)
    read = zip(rows["filename"].to_pylist(), rows["data"].to_pylist(), strict=True)
    assert {name: sha256(data) for name, data in read} == {name: sha256(data) for name, data in published.data.items()}


def test_writes_are_refused(published):
    for method in ("PUT", "DELETE", "POST", "MKCOL", "MOVE", "COPY", "PROPPATCH", "LOCK"):
        status, _, _ = http(method, url(published, "x.parquet"))
        assert status in (403, 405, 501), (method, status)
