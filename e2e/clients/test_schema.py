"""The schema as clients see it: the eight columns, and columns of one's own."""

import deltalake
import pytest
from lib import artifacts, manifest
from lib.clients import Where, place_of
from lib.vdt import Vdt

EIGHT = {
    "id": "long",
    "filename": "string",
    "content_type": "string",
    "url": "string",
    "filesize": "long",
    "data": "binary",
    "checksum": "string",
    "checksum_algo": "string",
}

KEYS = {
    "acme/2024/a report.pdf": b"%PDF a",
    "acme/2025/b.pdf": b"%PDF b",
    "globex/2025/deep/er/c.pdf": b"%PDF c",
    "globex/soon/d.pdf": b"%PDF d",  # no integer
    "stray.pdf": b"%PDF e",  # no match at all
}
CUSTOMER = {k: k.split("/")[0] if "/" in k else None for k in KEYS}
YEAR = {k: int(k.split("/")[1]) if k.count("/") >= 2 and k.split("/")[1].isdigit() else None for k in KEYS}


def fields(place):
    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
    return {f.name: f.type.type for f in table.schema().fields}, table


def test_every_client_sees_the_eight_columns_in_their_order(session):
    assert list(session.schema().items()) == list(EIGHT.items())


def test_the_eight_columns_in_their_order(published):
    found, table = fields(published.place)
    assert found == EIGHT and list(found) == list(EIGHT)
    protocol = table.protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert table.metadata().partition_columns == []


def test_meta_table_lacks_only_data(published):
    found, _ = fields(published.meta)
    assert list(found) == [c for c in EIGHT if c != "data"]


@pytest.fixture(scope="session")
def own_columns(tmp_path_factory):
    work = tmp_path_factory.mktemp("columns")
    artifacts.write_folder(work / "files", KEYS)
    columns = [
        {"name": "id", "from": {"artifact": "Id"}},
        {"name": "path", "from": {"artifact": "Filename"}},
        {"name": "customer", "type": "string", "from": {"path": "customer"}},
        {"name": "year", "type": "integer", "from": {"path": "year"}},
        {"name": "tenant", "type": "string", "from": {"constant": "te'nant"}},
        {"name": "rate", "type": "double", "from": {"constant": "2.5"}},
        {"name": "live", "type": "boolean", "from": {"constant": "true"}},
        {"name": "since", "type": "date", "from": {"constant": "2026-01-31"}},
        {"name": "changed", "from": {"artifact": "LastModified"}},
        {"name": "etag", "from": {"artifact": "ETag"}},
        {"name": "source", "from": {"artifact": "Source"}},
        {"name": "content", "from": {"artifact": "Data"}},
    ]
    table = manifest.virtual_table(
        "mapped",
        [manifest.folder("files")],
        table={"catalog": "columns"},
        schema={"pathPattern": "{customer}/{year}/**", "columns": columns},
    )
    server = Vdt(manifest.write(work / "mapped.yaml", table), state=work / "state", work=work / "run")
    with server.start():
        yield server


@pytest.fixture
def mapped(client, own_columns):
    opened = client(place_of(own_columns.table("mapped")))
    yield opened
    opened.close()


def test_parts_of_the_path_become_values(mapped):
    rows = mapped.rows(["path", "customer", "year", "tenant", "content"])
    assert {r[0]: r[1:] for r in rows} == {k: (CUSTOMER[k], YEAR[k], "te'nant", KEYS[k]) for k in KEYS}


def test_typed_constants_and_attributes(mapped):
    import datetime

    for rate, live, since, changed, etag, source in mapped.rows(["rate", "live", "since", "changed", "etag", "source"]):
        assert (rate, live, since, source) == (2.5, True, datetime.date(2026, 1, 31), "files")
        assert isinstance(changed, datetime.datetime) and etag


def test_filters_on_own_columns(mapped):
    assert {r[0] for r in mapped.rows(["path"], Where("customer", "eq", ("globex",)))} == {
        "globex/2025/deep/er/c.pdf",
        "globex/soon/d.pdf",
    }
    assert {r[0] for r in mapped.rows(["path"], Where("year", "range", (2025, 2030)))} == {
        k for k in KEYS if YEAR[k] == 2025
    }
    assert {r[0] for r in mapped.rows(["path"], Where("year", "null"))} == {k for k in KEYS if YEAR[k] is None}
    assert mapped.rows(["path"], Where("tenant", "eq", ("other",))) == []
