"""Older versions as of a time. Clients go by when a commit was written, as LIST and HEAD tell it: HEAD in whole seconds."""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import deltalake
import pytest
from lib import artifacts, clients, manifest
from lib.artifacts import write_file
from lib.clients import Place, place_of
from lib.vdt import Vdt

NAMES = ["first.pdf", "second.pdf", "third.pdf"]  # a version each
APART_SECONDS = 2.1  # so that a second's fraction, which HEAD does not tell, leaves times between two versions


@dataclass
class Dated:
    """A table whose versions were committed some seconds apart."""

    place: Place
    # Right before and right after each version was committed.
    around: list[tuple[datetime, datetime]] = field(default_factory=list)

    def between(self, version: int) -> datetime:
        """A time at which `version` was the newest, a second away from its commit and from the next one."""
        return self.around[version][1] + timedelta(seconds=APART_SECONDS / 2)

    def names(self, version: int) -> list[tuple[str]]:
        return [(name,) for name in NAMES[: version + 1]]


def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.fixture(scope="session")
def dated(tmp_path_factory):
    work = tmp_path_factory.mktemp("dated")
    folder = work / "files"
    artifacts.write_folder(folder, {NAMES[0]: b"%PDF first.pdf"})
    table = manifest.virtual_table(
        "dated", [manifest.folder("files")], table={"catalog": "dates"}, refresh=manifest.ON_REQUEST
    )
    vdt = Vdt(manifest.write(work / "t.yaml", table), state=work / "state", work=work / "run")
    before = now()
    with vdt.start():
        dated = Dated(place_of(vdt.table("dated")), [(before, now())])
        for name in NAMES[1:]:
            time.sleep(APART_SECONDS)
            write_file(folder / name, f"%PDF {name}".encode())
            before = now()
            vdt.refresh()
            dated.around.append((before, now()))
        yield dated


@pytest.mark.parametrize("version", [0, 1])
def test_a_time_between_two_versions_gives_the_older_one(dated, client, version):
    if client is clients.DuckDB:
        pytest.skip("DuckDB's Delta extension knows versions by their numbers only")
    session = client(dated.place)
    assert sorted(session.rows(["filename"], version=dated.between(version))) == dated.names(version)
    session.close()


def test_history_tells_when_each_version_was_committed(dated):
    table = deltalake.DeltaTable(dated.place.uri, storage_options=dated.place.storage_options())
    history = table.history()
    assert [entry["version"] for entry in history] == [2, 1, 0]
    assert [entry["operation"] for entry in history] == ["WRITE", "WRITE", "CREATE TABLE"]
    for entry, (before, after) in zip(reversed(history), dated.around, strict=True):
        committed = datetime.fromtimestamp(entry["timestamp"] / 1000, timezone.utc)
        assert before - timedelta(milliseconds=1) <= committed <= after, entry
        assert entry["engineInfo"].startswith("vdt/"), entry
        assert entry["operationMetrics"]["numOutputRows"] == "1", entry


def test_the_time_that_sparks_history_tells_of_a_version_gives_it(dated):
    if why := clients.missing(clients.Spark):
        pytest.skip(why)
    session = clients.Spark(dated.place)
    told = session.session.sql(f"DESCRIBE HISTORY delta.`{session.uri}`").select("version", "timestamp").collect()
    for version, committed in told:
        assert sorted(session.rows(["filename"], version=committed.astimezone())) == dated.names(version)
