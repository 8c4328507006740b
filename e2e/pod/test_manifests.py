"""Manifests that change under a running pod, mounted as Kubernetes mounts a ConfigMap: links through `..data`, which is swapped."""

import json
import time

import pytest
from lib import artifacts, manifest
from lib.clients import DeltaDataset, place_of
from lib.pod import Pod
from lib.process import wait_until

# From the swap to a new version that readers see (issue 5 asks for 5 s from an edit; the kubelet's part is not in this).
ACTED_ON_SECONDS = 5


class Mount:
    """A ConfigMap of manifests in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.version = 0
        folder.mkdir()

    def swap(self, *documents: dict | str):
        self.version += 1
        data = self.folder / f"..{self.version}"
        data.mkdir()
        text = [d if isinstance(d, str) else json.dumps(d) for d in documents]
        (data / "tables.yaml").write_text("".join(f"---\n{one}\n" for one in text))
        link = self.folder / "tables.yaml"
        if not link.is_symlink():
            link.symlink_to("..data/tables.yaml")
        staged = self.folder / "..data_tmp"
        staged.symlink_to(data.name)
        staged.rename(self.folder / "..data")


class Bed:
    def __init__(self, work):
        self.work = work
        artifacts.write_folder(work / "claims" / "papers" / "in", {f"{n}.pdf": b"%PDF-1.4 " + bytes([n]) * 99 for n in range(8)})
        artifacts.write_folder(work / "claims" / "papers" / "in", {"note.txt": b"a note"})
        self.mount = Mount(work / "tables")
        self.mount.swap(self.table("papers", 1))
        args = ["--claims-dir", work / "claims"]
        self.pod = Pod(work / "tables" / "tables.yaml", state=work / "state", args=args, work=work / "p")

    def table(self, name: str, generation: int, include=("*.pdf",), **spec) -> dict:
        source = {"name": "files", "type": "File", "file": {"claimName": "papers", "path": "in"}, "include": list(include)}
        table = manifest.virtual_table(name, [source], refresh=manifest.ON_REQUEST, **spec)
        table["metadata"] |= {"generation": generation, "namespace": "docs"}
        return table

    def reports(self) -> dict:
        return {t["table"].rsplit("/", 1)[-1]: t for t in self.pod.tables()}

    def report(self, name: str) -> dict:
        return self.reports().get(name, {}).get("manifest") or {}

    def follows(self, name: str, generation: int, seconds: float = ACTED_ON_SECONDS):
        wait_until(f"{name} follows {generation}", lambda: self.report(name).get("generation") == generation, seconds)

    def rows(self, name: str) -> list:
        return sorted(name for (name,) in DeltaDataset(place_of(self.pod.table(name))).rows(["filename"]))


@pytest.fixture
def bed(tmp_path):
    bed = Bed(tmp_path)
    with bed.pod.start():
        yield bed
        assert bed.pod.server.exit_code() is None and bed.pod.process.exit_code() is None, "nothing was started again"


def test_a_changed_table_is_followed_within_seconds(bed):
    bed.follows("papers", 1)
    assert bed.rows("papers") == [f"{n}.pdf" for n in range(8)]
    began = time.monotonic()
    bed.mount.swap(bed.table("papers", 2, include=["*.txt"]))
    wait_until("the other files are there", lambda: bed.rows("papers") == ["note.txt"], ACTED_ON_SECONDS)
    print(f"acted on after {time.monotonic() - began:.2f} s")
    bed.follows("papers", 2)
    # Only a number of its own: nothing is refreshed for it.
    version = bed.pod.table("papers").version
    bed.mount.swap(bed.table("papers", 3, include=["*.txt"]))
    bed.follows("papers", 3)
    assert bed.reports()["papers"]["version"] >= version


def test_the_last_good_manifest_stands(bed):
    bed.follows("papers", 1)
    for bad, expected in [
        (bed.table("papers", 2, include=["*.txt"], retension="1h"), "spec.retension"),
        ("not: [a manifest", "cannot be read"),
        (bed.table("papers", 2, include=["*.txt"], server={"cache": {"memory": {"capacity": "2Gi"}}}), "spec.server.cache"),
    ]:
        bed.mount.swap(bad)
        refused = lambda: (bed.report("papers").get("refused") or {}).get("message", "")  # noqa: E731
        wait_until(f"{expected} is told", lambda: expected in refused(), ACTED_ON_SECONDS)
    assert bed.report("papers")["refused"]["reason"] == "RestartNeeded"
    # The server follows what the front door cannot; both say so together.
    assert bed.report("papers")["generation"] == 1
    assert bed.pod.metric("vdt_http_reloads_total") >= 2
    bed.mount.swap(bed.table("papers", 3, include=["*.txt"]))
    bed.follows("papers", 3)
    assert "refused" not in bed.report("papers")
    assert bed.rows("papers") == ["note.txt"]


def test_a_folder_that_is_not_there_yet_is_tried_again(bed):
    bed.follows("papers", 1)
    table = bed.table("papers", 2)
    table["spec"]["sources"][0]["file"]["path"] = "later"
    bed.mount.swap(table)
    told = lambda: (bed.report("papers").get("refused") or {}).get("reason") == "SourceNotFound"  # noqa: E731
    wait_until("it is told", told, ACTED_ON_SECONDS)
    assert bed.rows("papers") == [f"{n}.pdf" for n in range(8)]
    artifacts.write_folder(bed.work / "claims" / "papers" / "later", {"x.pdf": b"%PDF-1.4 x"})
    bed.follows("papers", 2)
    assert bed.rows("papers") == ["x.pdf"]


def test_tables_come_and_go(bed):
    bed.follows("papers", 1)
    more = {"table": {"name": "more"}}
    bed.mount.swap(bed.table("papers", 1), bed.table("more", 1, include=["*.txt"], **more))
    bed.follows("more", 1)
    where = place_of(bed.pod.table("papers"))
    assert set(bed.reports()) == {"papers", "more"}
    assert bed.pod.metric("vdt_table_manifest_current") == 2
    bed.mount.swap(bed.table("more", 2, include=["*.txt"], **more))
    wait_until("papers is gone", lambda: set(bed.reports()) == {"more"}, ACTED_ON_SECONDS)
    assert bed.pod.metric("vdt_table_manifest_current") == 1
    # And comes back with the history that it had.
    bed.mount.swap(bed.table("papers", 4), bed.table("more", 2, include=["*.txt"], **more))
    bed.follows("papers", 4)
    assert sorted(n for (n,) in DeltaDataset(where).rows(["filename"])) == [f"{n}.pdf" for n in range(8)]


def test_suspend_is_followed(bed):
    bed.follows("papers", 1)
    bed.mount.swap(bed.table("papers", 2, include=["*.txt"], suspend=True))
    bed.follows("papers", 2)
    assert bed.rows("papers") == [f"{n}.pdf" for n in range(8)], "what is committed is served"
    bed.mount.swap(bed.table("papers", 3, include=["*.txt"]))
    bed.follows("papers", 3)
    assert bed.rows("papers") == ["note.txt"]
