"""A query reads the artifacts that it asks for and no others, in as few requests as the client can: counted between client and vdt, and between vdt and the
bucket. Without a cache, which would hide what a query costs."""

from collections import Counter
from dataclasses import dataclass

import pytest
from bench.bed import LOOKUP
from lib import manifest
from lib.clients import DeltaQuery, Place, Spark, Where, place_of
from lib.cost import LOOKUP_REQUESTS, Cost
from lib.proxy import CountingProxy
from lib.vdt import Vdt

BUCKET, PREFIX = "pushdown", "in/"
NAMES = LOOKUP.names()
ROW_GROUP = 10  # artifacts: 2 MiB, the default, of 200,000 bytes each


@dataclass
class Counted:
    """The table of `bench.requests` between two proxies."""

    place: Place
    front: CountingProxy
    source: CountingProxy
    created: Cost

    def cost(self) -> Cost:
        return Cost.since(self.front, self.source)


@pytest.fixture(scope="session")
def counted(tmp_path_factory, seaweed):
    work = tmp_path_factory.mktemp("pushdown")
    seaweed.create_bucket(BUCKET)
    seaweed.upload(BUCKET, {PREFIX + name: LOOKUP.body(i) for i, name in enumerate(NAMES)})
    with CountingProxy(seaweed.host) as source:
        # A catalog of its own: Spark knows one endpoint a bucket, and this is a proxy's.
        table = manifest.virtual_table(
            "lookup",
            [manifest.bucket(BUCKET, source.endpoint, prefix=PREFIX)],
            table={"catalog": "counted"},
            refresh=manifest.ON_REQUEST,
        )
        args = ["--no-cache", "--secrets-dir", seaweed.secrets_dir(work / "secrets")]
        written = manifest.write(work / "t.yaml", table)
        with Vdt(written, state=work / "state", args=args, work=work / "run").start() as vdt:
            with CountingProxy(vdt.listen) as front:
                place = place_of(vdt.table("lookup")).through(front.endpoint)
                yield Counted(place, front, source, Cost.since(front, source))


@pytest.fixture
def session(counted, client):
    """A client that has read nothing yet."""
    counted.cost()
    opened = client(counted.place)
    yield opened
    opened.close()


def test_a_table_is_made_of_one_listing(counted):
    assert [e.kind for e in counted.created.read] == ["list"]


def test_count_reads_no_artifact(counted, session):
    assert session.count() == len(NAMES)
    cost = counted.cost()
    assert cost.asked, "the client has asked"
    assert cost.read == [], [(e.path, e.range) for e in cost.read]


def test_names_read_no_artifact(counted, session, client):
    if client is Spark:
        pytest.skip("S3A asks for more than Spark wants, up to the end of the file, and hangs up: artifacts are read on the way")
    assert sorted(session.rows(["filename"])) == sorted((name,) for name in NAMES)
    cost = counted.cost()
    assert "data" in cost.by_kind, "the client has read the file"
    assert cost.read == [], [(e.path, e.range) for e in cost.read]


def test_a_lookup_reads_its_row_group_once_or_its_artifact_alone(counted, session, client):
    if client is Spark:
        pytest.skip("S3A asks for more than Spark wants, and Spark looks at each commit several times: nothing to be exact about")
    asked_for = 11
    name = NAMES[asked_for]
    rows = session.rows(["filename", "data"], Where("filename", "eq", (name,)))
    assert rows == [(name, LOOKUP.body(asked_for))]
    cost = counted.cost()
    assert len(cost.asked) in LOOKUP_REQUESTS[client.name], cost.by_kind
    assert {e.status for e in cost.asked if e.kind == "data"} == {206}
    ordered = sorted(NAMES)
    first = ordered.index(name) // ROW_GROUP * ROW_GROUP
    # delta-rs' own engine is the one that asks for single pages.
    wanted = [name] if client is DeltaQuery else ordered[first : first + ROW_GROUP]
    assert Counter(e.path for e in cost.artifact_gets) == Counter(f"/{BUCKET}/{PREFIX}{n}" for n in wanted)
    assert {e.body_bytes for e in cost.artifact_gets} == {LOOKUP.size}
    assert len(cost.read) == len(wanted), "nothing else is asked of the bucket"
