"""The power fails right after a refresh was answered: what it committed is there, whole.

The state lies on an ext4 image. A copy of the image is what a disk would hold if the power failed then: the kernel's cache is not in it.
"""

import contextlib
import os
import shutil
import subprocess
import time

import deltalake
import pytest
from lib import artifacts, manifest
from lib.clients import place_of
from lib.vdt import Vdt

ROUNDS = 12
# The kernel writes by itself what has been dirty for 30 s: no more rounds then.
SECONDS_MAX = 20


@contextlib.contextmanager
def mounted(image, at):
    at.mkdir()
    # The journal is written when somebody syncs, and not every 5 s; a file's bytes are not written because its name is.
    options = "loop,commit=600,data=writeback,noauto_da_alloc"
    done = subprocess.run(["mount", "-o", options, image, at], capture_output=True, text=True)
    if done.returncode != 0:
        if os.environ.get("CI") == "true" and os.path.exists("/dev/loop-control"):
            pytest.fail(f"CI=true needs loop devices: {done.stderr}")
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def rows(vdt, version):
    place = place_of(vdt.table("kept"))
    table = deltalake.DeltaTable(place.uri, version=version, storage_options=place.storage_options())
    found = table.to_pyarrow_dataset().to_table(columns=["filename", "filesize"])
    return dict(zip(found["filename"].to_pylist(), found["filesize"].to_pylist(), strict=True))


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed (apt-get install e2fsprogs)")
def test_what_was_committed_is_there_after_the_power_failed(tmp_path):
    folder = tmp_path / "files"
    spec = manifest.virtual_table("kept", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    table = manifest.write(tmp_path / "t.yaml", spec)
    image = tmp_path / "disk.img"
    with open(image, "wb") as f:
        f.truncate(256 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    expected = {}
    artifacts.write_file(folder / "first.bin", b"1")
    with mounted(image, tmp_path / "disk") as disk:
        over = time.monotonic() + SECONDS_MAX
        cache = ["--cache-dir", tmp_path / "cache"]
        with Vdt(table, state=disk / "state", args=cache, work=tmp_path / "run").start() as vdt:
            for number in range(ROUNDS):
                for name in range(40):
                    artifacts.write_file(folder / f"{number}" / f"{name}.bin", b"x" * (number * 50 + name + 1))
                if number:
                    (folder / f"{number - 1}" / f"{number}.bin").unlink()
                vdt.refresh()
                (disk / "control").write_text("not synced")
                cut = tmp_path / f"cut{number}.img"
                subprocess.run(["cp", "--sparse=always", image, cut], check=True)
                (disk / "control").unlink()
                if time.monotonic() > over:
                    break
                version = len(expected) + 1
                expected[version] = (cut, {p.relative_to(folder).as_posix(): p.stat().st_size
                                           for p in folder.rglob("*.bin")})
    assert len(expected) > 1, "the machine is too slow for this test"
    artifacts.write_file(folder / "last.bin", b"last")
    for version, (cut, files) in expected.items():
        with mounted(cut, tmp_path / f"after{version}") as disk:
            assert not (disk / "control").exists(), "the copy has what nobody synced: the test proves nothing"
            state = tmp_path / f"state{version}"
            shutil.copytree(disk / "state", state)
        cut.unlink()
        with Vdt(table, state=state, args=["--no-cache"], work=tmp_path / f"run{version}").start() as vdt:
            assert rows(vdt, version) == files
            vdt.refresh()
            assert rows(vdt, None) == rows(vdt, version + 1)
            assert "last.bin" in rows(vdt, None)
        shutil.rmtree(state)
