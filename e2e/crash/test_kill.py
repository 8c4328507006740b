"""kill -9 of the real process, at random moments of refreshes and of starts, after random edits.

After every restart the table is the folder: every row, every byte, and every artifact has the id it always had.
`VDT_CRASH_ROUNDS` (100) and `VDT_CRASH_SEED` choose the run; the seed is printed.
"""

import os
import random
import shutil
import threading
import time
from pathlib import Path

import deltalake
import pyarrow
import pytest
from lib import artifacts, manifest
from lib.artifacts import noise, sha256, write_file
from lib.clients import place_of
from lib.vdt import Vdt, http

ROUNDS = int(os.environ.get("VDT_CRASH_ROUNDS", "100"))
FILES_MAX = 60


class Model:
    """What the folder holds, and which ids were ever given."""

    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.random = random.Random(seed)
        self.files: dict[str, bytes] = {}
        self.born = 0
        self.clock = 100_000.0  # seconds that a file is old; every write is a little younger than the last
        self.owner: dict[int, str] = {}  # id -> the only artifact that ever had it
        self.ids: dict[str, int] = {}  # as seen last

    def edit(self):
        """New, changed and deleted files, at random; never more than a third deleted, which would hold the source."""
        for _ in range(self.random.randint(1, 6)):
            what = self.random.random()
            if what < 0.45 and len(self.files) < FILES_MAX or len(self.files) < 6:
                self.born += 1  # a name of its own: a reborn artifact may or may not keep its id, as the crash has it
                self._write(f"{self.random.choice(['', 'a/', 'b b/'])}{self.born:05}.bin")
            elif what < 0.75:
                self._write(self.random.choice(sorted(self.files)))
            else:
                name = self.random.choice(sorted(self.files))
                (self.folder / name).unlink()
                del self.files[name]

    def _write(self, name: str):
        self.clock -= 10
        data = noise(self.random.random(), self.random.choice([0, 1, 100, 3000, 20_000]))
        write_file(self.folder / name, data, age_seconds=self.clock)
        self.files[name] = data

    def check(self, vdt: Vdt, table: str):
        """The table is the folder."""
        place = place_of(vdt.table(table))
        rows = read(place.uri, place, ["id", "filename", "filesize", "data"])
        assert {n: sha256(d) for n, d in zip(rows["filename"], rows["data"], strict=True)} == {
            n: sha256(d) for n, d in self.files.items()
        }
        assert len(rows["filename"]) == len(self.files)
        ids = dict(zip(rows["filename"], rows["id"], strict=True))
        assert len(set(ids.values())) == len(ids), "an id was given twice"
        for name, number in ids.items():
            assert self.ids.get(name, number) == number, f"{name} had id {self.ids.get(name)} and now has {number}"
            assert self.owner.setdefault(number, name) == name, f"id {number} was {self.owner[number]}'s"
        self.ids = ids
        meta = read(place.uri + "_meta", place, ["id", "filename", "filesize"])
        assert sorted(zip(meta["id"], meta["filename"], meta["filesize"], strict=True)) == sorted(
            zip(rows["id"], rows["filename"], rows["filesize"], strict=True)
        )


def read(uri, place, columns):
    table = deltalake.DeltaTable(uri, storage_options=place.storage_options())
    return table.to_pyarrow_dataset().to_table(columns=columns).to_pydict()


@pytest.mark.timeout(1200)
def test_killed_a_hundred_times_the_table_is_the_folder(tmp_path):
    seed = int(os.environ.get("VDT_CRASH_SEED", time.time_ns() % 1_000_000))
    print(f"\nVDT_CRASH_SEED={seed}")
    folder = tmp_path / "files"
    folder.mkdir()
    model = Model(folder, seed)
    model.edit()
    spec = manifest.virtual_table(
        "crashing", [manifest.folder("files")], refresh=manifest.ON_REQUEST | {"onShrink": "Apply"}
    )
    path = manifest.write(tmp_path / "t.yaml", spec)
    vdt = Vdt(path, state=tmp_path / "state", work=tmp_path / "run")
    # How long a start and a refresh take here, so that the kills fall into them.
    began = time.monotonic()
    vdt.start()
    start_seconds = time.monotonic() - began
    model.check(vdt, "crashing")
    model.edit()
    began = time.monotonic()
    vdt.refresh()
    refresh_seconds = time.monotonic() - began
    model.check(vdt, "crashing")
    try:
        for number in range(ROUNDS):
            model.edit()
            if number % 4 == 3:  # in the refresh of a start
                vdt.kill()
                vdt.spawn()
                time.sleep(model.random.uniform(0, start_seconds * 1.2))
            else:
                background = threading.Thread(target=post_refresh, args=(vdt.ready["admin"],))
                background.start()
                time.sleep(model.random.uniform(0, refresh_seconds * 1.2))
            vdt.kill()
            if number % 4 != 3:
                background.join(30)
            vdt.start()
            try:
                model.check(vdt, "crashing")
            except BaseException:
                keep = Path(f"/tmp/vdt-crash-{seed}")
                shutil.copytree(tmp_path, keep, dirs_exist_ok=True)
                print(f"round {number}, seed {seed}: kept in {keep}\n{vdt.process.tail()}")
                raise
        versions = vdt.tables()[0]["version"]
        assert versions >= ROUNDS // 2, "most rounds make a version"
    finally:
        vdt.kill()


def post_refresh(admin: str):
    try:
        http("POST", f"http://{admin}/refresh?wait=true", seconds=20)
    except OSError:
        pass  # killed meanwhile: that is the point
    except Exception as e:  # http.client has exceptions of its own for an answer cut short
        assert type(e).__module__ == "http.client", e


def test_restart_serves_the_same_bytes_under_the_same_paths(tmp_path):
    artifacts.write_folder(tmp_path / "files", {f"{i}.bin": noise(i, 30_000 + i) for i in range(40)})
    spec = manifest.virtual_table(
        "stable",
        [manifest.folder("files")],
        layout={"fileTargetBytes": "1Mi", "rowGroupTargetBytes": "256Ki"},
        refresh=manifest.ON_REQUEST,
    )
    vdt = Vdt(manifest.write(tmp_path / "t.yaml", spec), state=tmp_path / "state", work=tmp_path / "run").start()
    try:
        first = snapshot(vdt)
        assert len(first) >= 4, first.keys()
        vdt.kill()
        vdt.start()
        assert snapshot(vdt) == first
        # Also from nothing but the sources: the same artifacts give the same names and the same data files.
        vdt.kill()
        other = Vdt(tmp_path / "t.yaml", state=tmp_path / "other state", work=tmp_path / "run2").start()
        try:
            data = {p: s for p, s in first.items() if "_delta_log" not in p}
            assert {p: s for p, s in snapshot(other).items() if "_delta_log" not in p} == data
        finally:
            other.kill()
    finally:
        vdt.kill()


def snapshot(vdt: Vdt) -> dict[str, tuple]:
    """Every file of the table and of its meta table: size, ETag, hash."""
    seen = {}
    t = vdt.table("stable")
    for base, s3 in ((t.http, t.s3), (t.meta().http, t.meta().s3)):
        place = place_of(t)
        adds = deltalake.DeltaTable(s3, storage_options=place.storage_options()).get_add_actions(flatten=True)
        for path in [*pyarrow.table(adds).to_pydict()["path"], "_delta_log/00000000000000000000.json"]:
            status, headers, body = http("GET", f"{base.rstrip('/')}/{path}")
            assert status == 200, (path, status, body[:200])
            seen[f"{s3}/{path}"] = (len(body), headers["etag"], sha256(body))
    return seen
