"""Every client reads every row and every byte, of a folder and of a bucket."""

import mimetypes
from urllib.parse import unquote

from lib.artifacts import sha256
from lib.clients import Where

COLUMNS = ["id", "filename", "content_type", "url", "filesize", "data", "checksum", "checksum_algo"]


def by_name(rows):
    """{filename: hash of data} of (filename, data) rows; a name that comes twice is an error."""
    named = {name: sha256(data) for name, data in rows}
    assert len(named) == len(rows), "a filename came twice"
    return named


def expected(published, names=None):
    return {k: sha256(d) for k, d in published.data.items() if names is None or k in names}


def test_every_row_and_every_byte(session, published):
    assert by_name(session.rows(["filename", "data"])) == expected(published)


def test_columns_say_what_the_artifacts_are(session, published):
    rows = session.rows([c for c in COLUMNS if c != "data"])
    assert sorted(r[0] for r in rows) == list(range(len(published.objects))), "ids are dense"
    for _id, filename, content_type, url, filesize, checksum, algo in rows:
        assert filesize == len(published.objects[filename]), filename
        assert url.startswith(published.url_prefix), url
        assert unquote(url) == unquote(published.url_prefix) + filename
        assert all(c.isascii() and c.isprintable() and c not in ' #?"<>' for c in url), url
        assert (checksum is None) == (algo is None), filename
        if filename.lower().endswith(".pdf"):
            assert content_type == "application/pdf", filename
        elif content_type is not None:
            assert "/" in content_type, (content_type, mimetypes.guess_type(filename))


def test_ids_follow_the_byte_order_of_keys(session, published):
    by_id = [name for _id, name in sorted(session.rows(["id", "filename"]))]
    assert by_id == sorted(published.objects, key=lambda k: k.encode())


def test_count(session, published):
    assert session.count() == len(published.objects)


def test_equals_finds_each_odd_name(session, published):
    names = [n for n in published.objects if not n.startswith("many/")]
    if type(session).__name__ == "Spark":
        names = names[::6]  # a query costs it half a second
    for name in names:
        assert by_name(session.rows(["filename", "data"], Where("filename", "eq", (name,)))) == expected(
            published, {name}
        )


def test_equals_with_nothing_to_find(session):
    assert session.rows(["filename", "data"], Where("filename", "eq", ("no such artifact",))) == []


def test_in_finds_first_middle_and_last(session, published):
    ordered = sorted(published.objects, key=lambda k: k.encode())
    names = {ordered[0], ordered[len(ordered) // 2], ordered[-1]}
    where = Where("filename", "in", tuple(sorted(names) + ["no such artifact"]))
    assert by_name(session.rows(["filename", "data"], where)) == expected(published, names)


def test_range_of_names(session, published):
    low, high = "m", "x"
    names = {n for n in published.objects if low.encode() <= n.encode() < high.encode()}
    assert names
    assert by_name(session.rows(["filename", "data"], Where("filename", "range", (low, high)))) == expected(
        published, names
    )


def test_range_of_ids(session, published):
    ids = {i: name for i, name in session.rows(["id", "filename"])}
    names = {ids[i] for i in range(3, 9)}
    assert by_name(session.rows(["filename", "data"], Where("id", "range", (3, 9)))) == expected(published, names)


def test_range_of_sizes(session, published):
    names = {n for n, d in published.objects.items() if 400 <= len(d) < 6000}
    rows = session.rows(["filename", "filesize"], Where("filesize", "range", (400, 6000)))
    assert dict(rows) == {n: len(published.objects[n]) for n in names}


def test_null_data_is_what_is_too_large_and_zero_bytes_are_not_null(session, published):
    too_large = {n for n, d in published.data.items() if d is None}
    assert {r[0] for r in session.rows(["filename"], Where("data", "null"))} == too_large
    present = set(published.data) - too_large
    assert {r[0] for r in session.rows(["filename"], Where("data", "not_null"))} == present


def test_meta_table_has_the_same_rows_without_data(session, meta_session, published):
    columns = [c for c in COLUMNS if c != "data"]
    assert sorted(meta_session.rows(columns), key=lambda r: r[0]) == sorted(session.rows(columns), key=lambda r: r[0])
    assert meta_session.count() == len(published.objects)


def test_version_0_by_number(session, published):
    rows = session.rows(["filename", "filesize"], version=0)
    assert dict(rows) == {n: len(d) for n, d in published.objects.items()}
