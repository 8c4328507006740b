"""One vdt that serves a folder and a bucket, as every client in this folder reads them."""

from dataclasses import dataclass
from urllib.parse import quote

import pytest
from lib import artifacts, manifest
from lib.clients import Place, place_of
from lib.vdt import Vdt

INLINE_MAX = 256 * 1024


@dataclass(frozen=True)
class Published:
    """A table and what must be in it."""

    place: Place
    meta: Place
    http: str
    objects: dict[str, bytes]
    data: dict[str, bytes | None]
    url_prefix: str


@pytest.fixture(scope="session")
def vdt(tmp_path_factory, seaweed):
    """Serves `papers` (a folder given by manifest), `odd` (a bucket), and an empty one of each, from one process."""
    work = tmp_path_factory.mktemp("vdt")
    artifacts.write_folder(work / "papers", artifacts.papers())
    seaweed.create_bucket("corp")
    seaweed.upload("corp", {f"in/{k}": d for k, d in artifacts.odd(INLINE_MAX).items()} | {"out/of/prefix.pdf": b"no"})
    layout = {"inlineMaxBytes": "256Ki", "rowGroupTargetBytes": "64Ki"}
    manifests = [
        manifest.write(work / "papers.yaml", manifest.virtual_table("papers", [manifest.folder("papers")])),
        manifest.write(
            work / "odd.yaml",
            manifest.virtual_table(
                "odd",
                [manifest.bucket("corp", seaweed.endpoint, prefix="in/")],
                layout=layout,
                refresh=manifest.ON_REQUEST,
            ),
        ),
    ]
    (work / "nothing").mkdir()
    seaweed.create_bucket("nothing")
    for kind, source in {
        "folder": manifest.folder("nothing"),
        "bucket": manifest.bucket("nothing", seaweed.endpoint),
    }.items():
        named = {"name": f"empty_{kind}"}
        table = manifest.virtual_table(f"empty-{kind}", [source], table=named, refresh=manifest.ON_REQUEST)
        manifests.append(manifest.write(work / f"empty-{kind}.yaml", table))
    secrets = seaweed.secrets_dir(work / "secrets")
    server = Vdt(*manifests, state=work / "state", args=["--secrets-dir", secrets], work=work / "run")
    with server.start():
        yield server


@pytest.fixture(scope="session")
def folder_table(vdt):
    objects = artifacts.papers()
    t = vdt.table("papers")
    prefix = "file://" + quote(str(vdt.work.parent / "papers") + "/")
    return Published(place_of(t), place_of(t.meta()), t.http, objects, dict(objects), prefix)


@pytest.fixture(scope="session")
def bucket_table(vdt):
    objects = artifacts.odd(INLINE_MAX)
    t = vdt.table("odd")
    data = artifacts.inline(objects, INLINE_MAX)
    return Published(place_of(t), place_of(t.meta()), t.http, objects, data, "s3://corp/in/")


@pytest.fixture(params=["folder", "bucket"], scope="session")
def published(request):
    return request.getfixturevalue(f"{request.param}_table")


@pytest.fixture(scope="session")
def session(client, published):
    opened = client(published.place)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def meta_session(client, published):
    opened = client(published.meta)
    yield opened
    opened.close()
