"""The largest and the most: one artifact of 2 GiB, many of one byte. Files are sparse, so that this costs no disk."""

import shutil
import time

import deltalake
import pytest
from lib import manifest
from lib.artifacts import settle
from lib.clients import DuckDB, Where, place_of
from lib.vdt import http

INLINE_LIMIT = 2_147_475_392  # the most that Parquet's 32-bit page sizes and every reader allow
MARK = b"the last bytes of a very large artifact"
MANY = 1_000_000


def sparse(path, size: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as f:
        f.truncate(size)
        f.seek(size - len(MARK))
        f.write(MARK)
    settle(path)


def test_an_artifact_at_the_limit_and_one_above(tmp_path, serve):
    sparse(tmp_path / "files" / "limit.bin", INLINE_LIMIT)
    sparse(tmp_path / "files" / "over.bin", INLINE_LIMIT + 1)
    table = manifest.virtual_table(
        "files", [manifest.folder("files")], layout={"inlineMaxBytes": str(INLINE_LIMIT), "fileTargetBytes": "4Gi"}
    )
    vdt = serve(manifest.write(tmp_path / "t.yaml", table))
    place = place_of(vdt.table("files"))
    opened = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
    rows = opened.to_pyarrow_dataset().to_table(columns=["filename", "filesize"]).to_pylist()
    assert sorted((r["filename"], r["filesize"]) for r in rows) == [
        ("limit.bin", INLINE_LIMIT),
        ("over.bin", INLINE_LIMIT + 1),
    ]
    (fragment,) = opened.to_pyarrow_dataset().get_fragments()
    nulls = artifacts = 0
    for i in range(fragment.metadata.num_row_groups):
        group = fragment.metadata.row_group(i)
        column = next(group.column(j) for j in range(group.num_columns) if group.column(j).path_in_schema == "data")
        nulls += column.statistics.null_count
        if column.total_compressed_size > INLINE_LIMIT:
            artifacts += 1
            end = column.data_page_offset + column.total_compressed_size
            url = f"{vdt.table('files').http}/{fragment.path.rsplit('/', 1)[-1]}"
            # The artifact may be followed by the page of the null beside it: its end is near the end of the chunk.
            status, _, body = http("GET", url, {"Range": f"bytes={end - 200}-{end - 1}"})
            assert status == 206 and MARK in body
    assert (artifacts, nulls) == (1, 1)
    assert vdt.process.rss_bytes() < 200 * 1024 * 1024


@pytest.mark.timeout(1200)  # a million files are made and removed: a minute on an idle disk, ten on a busy one
def test_a_million_artifacts_of_one_byte(tmp_path, serve):
    for folder in range(MANY // 1000):
        path = tmp_path / "files" / f"{folder:03}"
        path.mkdir(parents=True)
        for i in range(1000):
            with open(path / f"{i:03}", "wb", buffering=0) as f:
                f.write(b"%d" % (i % 10))
    time.sleep(2.1)  # the last ones have settled
    table = manifest.virtual_table("files", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    vdt = serve(manifest.write(tmp_path / "t.yaml", table))
    assert vdt.table("files").artifacts == MANY
    session = DuckDB(place_of(vdt.table("files")))
    assert session.count() == MANY
    found = session.rows(["filename", "data"], Where("filename", "in", ("000/000", "313/317", "999/999")))
    assert sorted(found) == [("000/000", b"0"), ("313/317", b"7"), ("999/999", b"9")]
    ids = session.rows(["count(DISTINCT id), min(id), max(id), sum(filesize)"])
    assert ids == [(MANY, 0, MANY - 1, MANY)]
    # Every byte of a twentieth: a request to the file system each.
    some = session.rows(["count(*), sum(octet_length(data)), sum(CAST(data AS VARCHAR)::INT)"], Where("filename", "range", ("", "050")))
    assert some == [(MANY // 20, MANY // 20, MANY // 20 * 9 // 2)]
    assert vdt.process.rss_bytes() < 1024 * 1024 * 1024
    session.close()
    shutil.rmtree(tmp_path / "files")
