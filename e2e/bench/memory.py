"""Growth of vdt's memory while 16 clients stream 200 MB artifacts at once, from a folder and from a bucket, with the default cache and
without. With it, all files are read once before, so that what the cache may hold by its own bound is there already."""

import socket
import threading
import time

from lib import manifest
from lib.clients import DeltaDataset, place_of
from lib.vdt import Vdt

from .bed import BUCKET, Bed, arguments, say, table

CLIENTS = 16
SIZE = 200 * 1000 * 1000
FILES = 4  # four clients each read one of them


def data_ranges(place) -> list[tuple[str, int, int]]:
    """(path in the bucket, first byte, length) of every row group's `data`."""
    ranges = []
    base = place.uri.removeprefix("s3://")
    for fragment in DeltaDataset(place).table.to_pyarrow_dataset().get_fragments():
        metadata = fragment.metadata
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            for j in range(group.num_columns):
                column = group.column(j)
                if column.path_in_schema == "data":
                    ranges.append(
                        (
                            f"{base}/{fragment.path.rsplit('/', 1)[-1]}",
                            column.data_page_offset,
                            column.total_compressed_size,
                        )
                    )
    return ranges


def stream(host: str, path: str, first: int, length: int, received: list[int]):
    """One client: a ranged GET, read as fast as it comes."""
    name, port = host.rsplit(":", 1)
    with socket.create_connection((name, int(port)), timeout=60) as s:
        s.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={first}-{first + length - 1}\r\nConnection: close\r\n\r\n".encode()
        )
        buffer, total = bytearray(1 << 20), 0
        while n := s.recv_into(buffer):
            total += n
        received.append(total)


def growth(vdt: Vdt, is_cached: bool) -> tuple[int, int, float]:
    """Memory before, its peak while all clients stream, and how long that took."""
    ranges = data_ranges(place_of(vdt.table("big")))
    assert len(ranges) == FILES and all(length >= SIZE for _, _, length in ranges), ranges
    received: list[int] = []
    # What a first request allocates once is not growth, nor is what the cache may hold.
    for first in ranges if is_cached else ranges[:1]:
        stream(vdt.listen, *first, received)
    received.clear()
    time.sleep(0.5)
    before = vdt.process.rss_bytes()
    threads = [threading.Thread(target=stream, args=(vdt.listen, *ranges[i % FILES], received)) for i in range(CLIENTS)]
    began = time.perf_counter()
    for t in threads:
        t.start()
    peak = before
    while any(t.is_alive() for t in threads):
        peak = max(peak, vdt.process.rss_bytes())
        time.sleep(0.01)
        assert time.perf_counter() - began < 600
    elapsed = time.perf_counter() - began
    assert len(received) == CLIENTS and all(n > SIZE for n in received), received
    return before, peak, elapsed


def run(bed: Bed):
    rows = []
    work = bed.work / "memory"
    (work / "files").mkdir(parents=True)
    for i in range(FILES):
        with open(work / "files" / f"{i}.bin", "wb") as f:
            f.truncate(SIZE)
    table_spec = manifest.virtual_table("big", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    sources = [("folder", manifest.write(work / "folder.yaml", table_spec), [])]
    say("uploading 200 MB artifacts")
    client = bed.seaweed.client()
    for i in range(FILES):
        with open(work / "files" / f"{i}.bin", "rb") as f:
            client.upload_fileobj(f, BUCKET, f"big/{i}.bin")
    spec = manifest.virtual_table(
        "big", [manifest.bucket(BUCKET, bed.seaweed.endpoint, prefix="big/")], refresh=manifest.ON_REQUEST
    )
    secrets = bed.seaweed.secrets_dir(work / "secrets")
    sources.append(("bucket", manifest.write(work / "b.yaml", spec), ["--secrets-dir", secrets]))
    for source, file, args in sources:
        for cache in ([], ["--no-cache"]):
            name = source + "".join(cache)
            with Vdt(file, state=work / f"state-{name}", args=args + cache, work=work / f"run-{name}").start() as vdt:
                rows.append([source, "none" if cache else "256 MiB", *growth(vdt, not cache)])
    mib = 1024 * 1024
    table(
        f"Memory while {CLIENTS} clients stream {SIZE // 1_000_000} MB artifacts at once (aim: growth < 64 MiB)",
        ["source", "cache memory", "before", "peak", "growth", "rate"],
        [
            [
                s,
                c,
                f"{b / mib:.0f} MiB",
                f"{p / mib:.0f} MiB",
                f"**{(p - b) / mib:.0f} MiB**",
                f"{CLIENTS * SIZE / t / 1e6:.0f} MB/s",
            ]
            for s, c, b, p, t in rows
        ],
    )


if __name__ == "__main__":
    arguments()
    with Bed() as bed:
        run(bed)
