"""An artifact that is overwritten while clients read it: right bytes or a clean error, never a mix."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import deltalake
import pytest
from lib import artifacts, manifest
from lib.clients import place_of
from lib.pod import Pod
from lib.process import wait_until
from lib.vdt import Vdt

KEY = "big.bin"
SIZE = 24 * 1024 * 1024
PIECE = 256 * 1024
# Smaller than the artifact: part of each read is of what is held, and the source is asked for the rest.
CACHE = ["--cache-memory", "16Mi", "--cache-disk", "0"]
READERS = 8
LETTERS = b"BCDEF"  # of the versions after the first
SECONDS_MAX = 30  # until a version is read, which takes one or two
CLEAN = "a source object changed or vanished after the table&apos;s version was made"


class Folder:
    """A file that is overwritten in place: the same inode, the same size. Only what has settled is published."""

    settle_seconds = 1

    def __init__(self, work, _):
        self.file = work / "files" / KEY
        self.secrets = work / "secrets"
        self.secrets.mkdir()
        artifacts.write_file(self.file, b"A" * SIZE)

    def source(self) -> dict:
        return manifest.folder("files")

    def overwrite(self, letter: bytes):
        with open(self.file, "r+b") as f:
            for _ in range(SIZE // PIECE):
                f.write(letter * PIECE)
                f.flush()
                time.sleep(0.0005)


class Bucket:
    """An object that is put again under its key."""

    settle_seconds = 0

    def __init__(self, work, seaweed):
        self.endpoint, self.client = seaweed.endpoint, seaweed.client()
        self.secrets = seaweed.secrets_dir(work / "secrets")
        seaweed.ensure_bucket("torn")
        self.overwrite(b"A")

    def source(self) -> dict:
        return manifest.bucket("torn", self.endpoint)

    def overwrite(self, letter: bytes):
        self.client.put_object(Bucket="torn", Key=KEY, Body=letter * SIZE)


def serve(*manifests, args, **where) -> Vdt:
    return Vdt(*manifests, args=[*args, *CACHE], **where)


def pod(*manifests, **what) -> Pod:
    pod = Pod(*manifests, **what)
    pod.cache_args = CACHE
    return pod


@pytest.mark.parametrize("source", [Folder, Bucket])
@pytest.mark.parametrize("server", [serve, pod])
def test_an_overwrite_never_gives_a_mix(tmp_path, seaweed, server, source):
    """At any rest the artifact is all of one letter: so a mix shows. Readers wait for nothing, the writer until a version has been read."""
    artifact = source(tmp_path, seaweed)
    refresh = {"intervalSeconds": 0, "settleSeconds": artifact.settle_seconds}
    path = manifest.write(tmp_path / "t.yaml", manifest.virtual_table("torn", [artifact.source()], refresh=refresh))
    stop, seen, errors = Event(), [], []

    def refresh_always():
        while not stop.is_set():
            vdt.refresh()
            stop.wait(0.1)

    def read_always():
        while not stop.is_set():
            try:
                data = read(place)
            except Exception as error:
                errors.append(str(error))
            else:
                assert data == data[:1] * SIZE, f"{len(data)} bytes of several versions: {sorted(set(data))}"
                seen.append(data[:1])

    args, threads = ["--secrets-dir", artifact.secrets], ThreadPoolExecutor(READERS + 1)
    with server(path, state=tmp_path / "state", args=args, work=tmp_path / "run").start() as vdt, threads:
        place = place_of(vdt.table("torn"))
        busy = [threads.submit(task) for task in [refresh_always, *[read_always] * READERS]]
        try:
            for last in (bytes([letter]) for letter in LETTERS):
                artifact.overwrite(last)
                wait_until("it is read", lambda: last in seen or any(task.done() for task in busy), SECONDS_MAX)  # noqa: B023
                time.sleep(random.uniform(0, 0.3))
        finally:
            stop.set()
        for task in busy:
            task.result(60)
        assert vdt.process.exit_code() is None
        print(f"\n{len(seen)} right, of {len(set(seen))} versions, {len(errors)} clean errors")
    assert errors, "no read met a change: the test proves nothing"
    assert not [e for e in errors if CLEAN not in e], "\n".join(sorted(set(errors)))


def read(place) -> bytes:
    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
    return table.to_pyarrow_dataset().to_table(columns=["data"])["data"][0].as_py()
