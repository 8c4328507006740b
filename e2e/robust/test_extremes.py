"""The largest and the most: one artifact of 2 GiB, many of one byte. Files are sparse, so that this costs no disk."""

import deltalake
from lib import manifest
from lib.artifacts import settle
from lib.clients import DuckDB, Where, place_of
from lib.vdt import http

INLINE_LIMIT = 2_147_475_392  # the most that Parquet's 32-bit page sizes and every reader allow
MARK = b"the last bytes of a very large artifact"
MANY = 50_000


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


def test_many_artifacts_of_one_byte(tmp_path, serve):
    for i in range(MANY):
        path = tmp_path / "files" / f"{i // 1000:02}" / f"{i:05}"
        if i % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % (i % 10))
    table = manifest.virtual_table("files", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    vdt = serve(manifest.write(tmp_path / "t.yaml", table))
    assert vdt.table("files").artifacts == MANY
    session = DuckDB(place_of(vdt.table("files")))
    assert session.count() == MANY
    found = session.rows(["filename", "data"], Where("filename", "in", ("00/00000", "31/31337", "49/49999")))
    assert sorted(found) == [("00/00000", b"0"), ("31/31337", b"7"), ("49/49999", b"9")]
    everything = session.rows(["count(*), sum(octet_length(data)), count(DISTINCT id), max(id)"])
    assert everything == [(MANY, MANY, MANY, MANY - 1)]
    session.close()
