"""Requests of every bad kind: a clear status, no crash, no leak. And a graceful end."""

import os
import signal
import socket
import threading
import time

import deltalake
import pyarrow
import pytest
from lib import artifacts, manifest
from lib.clients import place_of
from lib.vdt import http


@pytest.fixture
def vdt(serve, on_request):
    return serve(on_request)


def raw(vdt, request: bytes, seconds: float = 10) -> bytes:
    """Sends bytes as they are and returns all that comes back."""
    host, port = vdt.listen.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=seconds) as s:
        s.sendall(request)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        return answer


def data_file(vdt) -> str:
    place = place_of(vdt.table("files"))
    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
    return pyarrow.table(table.get_add_actions(flatten=True)).to_pydict()["path"][0]


def alive(vdt):
    assert vdt.process.exit_code() is None, vdt.process.tail()
    assert vdt.admin("GET", "/healthz")[0] == 200
    assert "panicked" not in vdt.process.output()


def test_malformed_ranges(vdt):
    path = f"{vdt.endpoint}/main/default/files/{data_file(vdt)}"
    whole = http("GET", path)[2]
    for value in ("bytes=", "bytes=a-b", "bytes=5-2", "bytes=--5", "bytes=0-1,4-5", "lines=0-1", "bytes=0-" + "9" * 40):
        status, _, body = http("GET", path, {"Range": value})
        assert status in (200, 206, 400, 416), (value, status)
        assert status not in (200, 206) or body in (whole, whole[:2]), value
    assert http("GET", path, {"Range": f"bytes={len(whole)}-"})[0] == 416
    assert http("GET", path, {"Range": "bytes=-0"})[0] == 416
    alive(vdt)


@pytest.mark.parametrize(
    "path",
    [
        "/main/default/files/../../../../../etc/passwd",
        "/main/default/files/..%2f..%2f..%2fetc%2fpasswd",
        "/main/default/files/%2e%2e/%2e%2e/store.json",
        "/v1/main/default/files/..%2f_vdt/owner.json",
        "/main/..%2f..%2fsources/x",
        "/sources/x",
        "/log/main/default/files",
        "/main/default/files/%00",
        "/main/default/files/%ff%fe",
        "/main/default/files//_delta_log//00000000000000000000.json",
        "/v1/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
    ],
)
def test_paths_that_lead_elsewhere(vdt, path):
    answer = raw(vdt, f"GET {path} HTTP/1.1\r\nHost: {vdt.listen}\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 403, 404, 405), answer[:300]
    assert b"root:" not in answer
    alive(vdt)


def test_no_way_to_sources_or_inner_files(vdt):
    name = data_file(vdt).replace(".parquet", ".rope")
    for path in (f"/main/default/files/{name}", "/main/default/files/_vdt/owner.json", "/store.json"):
        assert http("GET", vdt.endpoint + path)[0] in (403, 404), path


def test_unknown_methods(vdt):
    for method in ("BREW", "TRACE", "CONNECT", "PATCH"):
        answer = raw(vdt, f"{method} /main/x HTTP/1.1\r\nHost: {vdt.listen}\r\nConnection: close\r\n\r\n".encode())
        assert answer.split(b" ", 2)[1][:1] in (b"4", b"5"), (method, answer[:200])
    alive(vdt)


def test_writes_by_s3_are_refused_with_a_sentence(vdt):
    for method, path in (
        ("PUT", "/main/default/files/x.parquet"),
        ("DELETE", f"/main/default/files/{data_file(vdt)}"),
        ("PUT", "/newbucket"),
        ("DELETE", "/main"),
        ("POST", "/main?delete"),
        ("POST", "/main/default/files/x?uploads"),
    ):
        status, _, body = http(method, vdt.endpoint + path)
        assert status == 403 and b"AccessDenied" in body and b"<Message>" in body, (method, path, status, body[:300])


def test_what_is_not_there(vdt):
    status, _, body = http("GET", f"{vdt.endpoint}/main/default/files/nothing.parquet")
    assert status == 404 and b"NoSuchKey" in body
    status, _, body = http("GET", f"{vdt.endpoint}/no-such-bucket?list-type=2")
    assert status == 404 and b"NoSuchBucket" in body
    status, _, body = http("GET", f"{vdt.endpoint}/main?list-type=2&prefix=no/such/table/_delta_log/")
    assert status == 200 and b"<KeyCount>0</KeyCount>" in body.replace(b" ", b"")


def test_garbage_and_huge_heads(vdt):
    for request in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),  # a TLS hello
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 500_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % i for i in range(20_000)) + b"\r\n",
    ):
        try:
            answer = raw(vdt, request)
            assert answer == b"" or answer.split(b" ", 2)[1][:1] == b"4", answer[:200]
        except ConnectionError:
            pass  # it hung up while we were still sending
    alive(vdt)


def test_clients_that_hang_up_leave_nothing_behind(tmp_path, serve):
    artifacts.write_folder(tmp_path / "big", {f"{i}.bin": artifacts.noise(i, 8 * 1024 * 1024) for i in range(4)})
    table = manifest.virtual_table("files", [manifest.folder("big")], refresh=manifest.ON_REQUEST)
    vdt = serve(manifest.write(tmp_path / "t.yaml", table))
    path, (host, port) = data_file(vdt), vdt.listen.rsplit(":", 1)
    request = f"GET /main/default/files/{path} HTTP/1.1\r\nHost: {vdt.listen}\r\n\r\n".encode()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{vdt.process.pid}/fd"))

    def hang_up():
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(request)
            s.recv(100_000)

    for _ in range(10):
        hang_up()
    time.sleep(1)
    before, rss = descriptors(), vdt.process.rss_bytes()
    for _ in range(150):
        hang_up()
    deadline = time.monotonic() + 10
    while descriptors() > before + 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert descriptors() <= before + 5, "descriptors leak"
    assert vdt.process.rss_bytes() < rss + 64 * 1024 * 1024, "memory leaks"
    alive(vdt)


def test_sigterm_lets_bodies_finish(tmp_path, serve):
    data = artifacts.noise("slow", 24 * 1024 * 1024)
    artifacts.write_folder(tmp_path / "big", {"slow.bin": data})
    table = manifest.virtual_table("files", [manifest.folder("big")], refresh=manifest.ON_REQUEST)
    vdt = serve(manifest.write(tmp_path / "t.yaml", table))
    path = data_file(vdt)
    host, port = vdt.listen.rsplit(":", 1)
    body = bytearray()
    started = threading.Event()

    def slow_reader():
        with socket.create_connection((host, int(port)), timeout=30) as s:
            s.sendall(
                f"GET /main/default/files/{path} HTTP/1.1\r\nHost: {vdt.listen}\r\nConnection: close\r\n\r\n".encode()
            )
            while piece := s.recv(1024 * 1024):
                body.extend(piece)
                started.set()
                time.sleep(0.03)

    reader = threading.Thread(target=slow_reader)
    reader.start()
    assert started.wait(10)
    vdt.process.child.send_signal(signal.SIGTERM)
    code = vdt.process.wait(60)
    reader.join(60)
    assert code == 0, vdt.process.tail()
    head, _, rest = bytes(body).partition(b"\r\n\r\n")
    length = int(
        next(v for k, _, v in (h.partition(b":") for h in head.split(b"\r\n")) if k.lower() == b"content-length")
    )
    assert len(rest) == length and rest[-4:] == b"PAR1" and data in rest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_end_is_quick_and_0(vdt, number):
    began = time.monotonic()
    vdt.process.child.send_signal(number)
    assert vdt.process.wait(20) == 0, vdt.process.tail()
    assert time.monotonic() - began < 5


def test_admin_listener(vdt):
    status, body = vdt.admin("GET", "/metrics")
    assert status == 200 and b"# TYPE vdt_" in body, body[:300]
    assert vdt.admin("GET", "/readyz")[0] == 200
    assert vdt.admin("POST", "/refresh?table=no-such-table&wait=true")[0] == 404
    assert vdt.admin("GET", "/refresh")[0] == 405
    (t,) = vdt.tables()
    assert (t["version"], t["artifacts"]) == (0, 3)
    assert vdt.admin("POST", "/refresh")[0] == 202
    # What belongs to this listener is not on the other one.
    assert http("GET", f"{vdt.endpoint}/metrics")[0] in (403, 404)
    assert http("POST", f"{vdt.endpoint}/refresh")[0] in (403, 404, 405)


def test_listing_in_pages_and_by_folders(vdt, seaweed):
    """A client library other than the ones that read tables: boto3, unsigned."""
    import boto3
    import botocore
    from botocore.config import Config

    s3 = boto3.client(
        "s3",
        endpoint_url=vdt.endpoint,
        region_name="us-east-1",
        config=Config(
            signature_version=botocore.UNSIGNED, s3={"addressing_style": "path"}, retries={"max_attempts": 0}
        ),
    )
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["main"]
    s3.head_bucket(Bucket="main")
    assert "LocationConstraint" in s3.get_bucket_location(Bucket="main")
    every = [o["Key"] for o in s3.list_objects_v2(Bucket="main")["Contents"]]
    assert every == sorted(every) and "default/files/_delta_log/00000000000000000000.json" in every
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="main", PaginationConfig={"PageSize": 1})
    assert [o["Key"] for p in pages for o in p.get("Contents", [])] == every
    old = s3.get_paginator("list_objects").paginate(Bucket="main", PaginationConfig={"PageSize": 2})
    assert [o["Key"] for p in old for o in p.get("Contents", [])] == every
    folders = s3.list_objects_v2(Bucket="main", Prefix="default/", Delimiter="/")
    assert [p["Prefix"] for p in folders["CommonPrefixes"]] == ["default/files/", "default/files_meta/"]
    assert folders["KeyCount"] == 2
    after = s3.list_objects_v2(Bucket="main", StartAfter=every[0])
    assert [o["Key"] for o in after["Contents"]] == every[1:]
    for key in every:
        listed = s3.head_object(Bucket="main", Key=key)
        got = s3.get_object(Bucket="main", Key=key)
        assert listed["ETag"] == got["ETag"] and len(got["Body"].read()) == listed["ContentLength"]
