"""A file that is overwritten in place while clients read it: right bytes or a clean error, never a mix."""

import threading
import time

import deltalake
from lib import artifacts, manifest
from lib.clients import place_of
from lib.vdt import Vdt

SIZE = 24 * 1024 * 1024
PIECE = 256 * 1024
SECONDS = 25


def test_in_place_overwrite_never_gives_a_mix(tmp_path):
    """Only files that have settled are published, and at any rest the file is all of one letter: so a mix shows."""
    big = tmp_path / "files" / "big.bin"
    artifacts.write_file(big, b"A" * SIZE)
    spec = manifest.virtual_table(
        "torn", [manifest.folder("files")], refresh={"intervalSeconds": 0, "settleSeconds": 1}
    )
    stop = threading.Event()

    def overwrite():
        letter = 0
        while not stop.is_set():
            letter += 1
            with open(big, "r+b") as f:  # in place: the same inode, the same size
                for _ in range(SIZE // PIECE):
                    f.write(bytes([65 + letter % 26]) * PIECE)
                    f.flush()
                    time.sleep(0.0005)
            stop.wait(1.6)

    right = errors = 0
    with Vdt(manifest.write(tmp_path / "t.yaml", spec), state=tmp_path / "state", work=tmp_path / "run").start() as vdt:
        place = place_of(vdt.table("torn"))
        writer = threading.Thread(target=overwrite)
        writer.start()
        try:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                vdt.refresh()
                try:
                    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
                    data = table.to_pyarrow_dataset().to_table(columns=["data"])["data"][0].as_py()
                except Exception:  # the clean error
                    errors += 1
                    continue
                assert len(data) == SIZE
                assert data.count(data[:1]) == SIZE, f"bytes of several versions: {sorted(set(data[::PIECE]))}"
                right += 1
        finally:
            stop.set()
            writer.join(30)
        assert vdt.process.exit_code() is None
        print(f"\n{right} right, {errors} clean errors")
        time.sleep(1.1)
        vdt.refresh()
        table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
        assert table.to_pyarrow_dataset().to_table(columns=["data"])["data"][0].as_py() == big.read_bytes()
    assert right and errors, "no read met a rest, or none a change: the test proves nothing"
