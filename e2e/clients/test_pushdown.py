"""A filter on `filename` reads the artifacts it asks for, not the table: counted between client and vdt."""

import pytest
from lib.clients import Spark, Where
from lib.proxy import CountingProxy

# Blind tail reads and footers: at most this much of a lookup is not artifacts. The zero padding before a footer is 512 KiB.
LITERAL_BYTES_MAX = 1536 * 1024


@pytest.fixture
def counted(client, bucket_table, vdt):
    if client is Spark:
        pytest.skip("Spark knows one endpoint a bucket, and that is vdt itself")
    with CountingProxy(vdt.listen) as proxy:
        opened = client(bucket_table.place.through(proxy.endpoint))
        yield opened, proxy
        opened.close()


def test_lookup_reads_a_row_group_and_not_the_table(counted, bucket_table):
    session, proxy = counted
    name = "many/0150.txt"
    rows = session.rows(["filename", "data"], Where("filename", "eq", (name,)))
    assert rows == [(name, bucket_table.data[name])]
    exchanges = proxy.take()
    data = [e for e in exchanges if e.kind == "data"]
    total = sum(len(d) for d in bucket_table.data.values() if d)
    read = sum(e.body_bytes for e in data)
    assert read < min(total, LITERAL_BYTES_MAX + 64 * 1024), f"{read} of {total} bytes in {len(data)} requests"
    assert all(e.status in (200, 206) for e in data)
    assert len(exchanges) <= 16, [(e.method, e.path, e.range) for e in exchanges]


def test_count_and_names_read_no_artifact(counted, bucket_table):
    session, proxy = counted
    assert session.count() == len(bucket_table.objects)
    read = sum(e.body_bytes for e in proxy.take() if e.kind == "data")
    assert read < LITERAL_BYTES_MAX
