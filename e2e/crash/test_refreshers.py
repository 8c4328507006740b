"""Three vdt processes on one state store in a bucket: nothing is lost, doubled or torn, also when one is killed."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import deltalake
from lib import manifest
from lib.artifacts import noise, sha256, write_file
from lib.clients import place_of
from lib.process import wait_until
from lib.vdt import Vdt

ROUNDS = 12


def rows(vdt):
    place = place_of(vdt.table("shared"))
    table = deltalake.DeltaTable(place.uri, storage_options=place.storage_options())
    read = table.to_pyarrow_dataset().to_table(columns=["id", "filename", "data"]).to_pydict()
    assert len(set(read["filename"])) == len(read["filename"]), "an artifact is in the table twice"
    assert len(set(read["id"])) == len(read["id"]), "an id was given twice"
    hashes = {n: sha256(d) for n, d in zip(read["filename"], read["data"], strict=True)}
    return table.version(), dict(zip(read["filename"], read["id"], strict=True)), hashes


def test_three_refreshers_on_one_state_store(tmp_path, seaweed):
    seaweed.ensure_bucket("vdt-state")
    seed = time.time_ns() % 1_000_000
    print(f"\nseed={seed}")
    choose = random.Random(seed)
    folder = tmp_path / "files"
    files = {f"{i:03}.bin": noise(i, 2000 + i) for i in range(12)}
    for name, data in files.items():
        write_file(folder / name, data)
    spec = manifest.virtual_table(
        "shared", [manifest.folder("files")], refresh=manifest.ON_REQUEST | {"onShrink": "Apply"}
    )
    path = manifest.write(tmp_path / "t.yaml", spec)
    servers = [
        Vdt(path, state=f"s3://vdt-state/e2e-{seed}", work=tmp_path / f"run{i}", env=seaweed.environment())
        for i in range(3)
    ]
    clock = 100_000.0
    owners: dict[int, str] = {}
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(Vdt.start, servers))  # the first start is a race for version 0
            for number in range(ROUNDS):
                for _ in range(choose.randint(1, 4)):
                    clock -= 10
                    if choose.random() < 0.3 and len(files) > 6:
                        name = choose.choice(sorted(files))
                        (folder / name).unlink()
                        del files[name]
                    else:
                        new = choose.random() < 0.5
                        name = f"{number}-{choose.randrange(10**6)}.bin" if new else choose.choice(sorted(files))
                        files[name] = noise(choose.random(), 2000)
                        write_file(folder / name, files[name], age_seconds=clock)
                if number % 3 == 2:
                    victim = choose.choice(servers)
                    others = [s for s in servers if s is not victim]
                    refreshes = [pool.submit(s.refresh) for s in others]
                    pool.submit(victim.refresh)  # what comes of it is not known: it is killed somewhere in it
                    time.sleep(choose.uniform(0, 0.3))
                    victim.kill()
                    for r in refreshes:
                        r.result(60)
                    victim.start()
                else:
                    list(pool.map(Vdt.refresh, servers))
                seen = [rows(s) for s in servers]
                for version, ids, hashes in seen:
                    assert hashes == {n: sha256(d) for n, d in files.items()}, (number, version)
                    assert ids == seen[0][1], "every replica gives the same ids"
                for name, artifact in seen[0][1].items():
                    assert owners.setdefault(artifact, name) == name, f"id {artifact} was {owners[artifact]}'s"
    except BaseException:
        for s in servers:
            if s.process:
                print(s.process.tail(20))
        raise
    finally:
        for s in servers:
            if s.process:
                s.kill()


def test_a_second_server_serves_what_the_first_one_committed(tmp_path, seaweed):
    seaweed.ensure_bucket("vdt-state")
    write_file(tmp_path / "files" / "a.bin", b"first")
    spec = manifest.virtual_table("shared", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    path = manifest.write(tmp_path / "t.yaml", spec)
    state = f"s3://vdt-state/second-{time.time_ns()}"
    first = Vdt(path, state=state, work=tmp_path / "run1", env=seaweed.environment()).start()
    second = Vdt(path, state=state, work=tmp_path / "run2", env=seaweed.environment()).start()
    try:
        write_file(tmp_path / "files" / "b.bin", b"second", age_seconds=600)
        first.refresh()
        wait_until("the second server serves the new version", lambda: rows(second)[0] == 1, 20, 0.2)
        assert rows(second) == rows(first)
    finally:
        first.kill()
        second.kill()
