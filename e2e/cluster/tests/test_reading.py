"""Scenario 1: installed, applied, read by Jobs of the cluster byte for byte, and again after a refresh."""

from __future__ import annotations

import pytest
from lib.artifacts import noise, papers, sha256
from local_volumes import FOLDER, storage_class
from reading import read
from table import Table, manifest

pytestmark = pytest.mark.usefixtures("operator")


@pytest.mark.parametrize("client", ["polars", "delta-rs"])
def test_scenario_1_a_job_reads_every_pdf_byte_for_byte_and_after_a_refresh_the_new_one(kube, source, clients_image, numbers, client):
    table = Table(kube, "papers").apply(manifest("papers", [source.source()], source.state()))
    numbers.add("apply to Ready", table.ready(), 10)
    assert read(table, clients_image, client) == source.hashes()

    source.put({"nachtrag/neu – später.pdf": b"%PDF-1.7\n" + noise("late", 300_000)})
    table.refresh()
    found = read(table, clients_image, client)
    assert found == source.hashes()
    assert "nachtrag/neu – später.pdf" in found


def test_scenario_1_only_who_has_the_keys_reads(kube, source, clients_image):
    kube.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "analysts-key"}, "stringData": {"accessKeyId": "ANALYSTS", "secretAccessKey": "s3cr3t-of-analysts"}},
    )  # fmt: skip
    access = {"mode": "Keys", "principals": [{"name": "analysts", "secretRef": {"name": "analysts-key"}}]}
    table = Table(kube, "keys").apply(manifest("keys", [source.source()], {"type": "Ephemeral"}, access=access, replicas=1))
    table.ready()
    assert read(table, clients_image, keys=("ANALYSTS", "s3cr3t-of-analysts")) == source.hashes()
    with pytest.raises(AssertionError, match="(?i)denied|forbidden|403|401"):
        read(table, clients_image)
    with pytest.raises(AssertionError, match="(?i)denied|forbidden|403|401|signature"):
        read(table, clients_image, keys=("ANALYSTS", "another"))


def test_c39_pods_run_restricted_without_a_token_on_a_read_only_root(kube, source):
    table = Table(kube, "papers").apply(manifest("papers", [source.source()], source.state(), replicas=1))
    table.ready()
    (pod,) = table.pods().values()
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in spec["initContainers"] + spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not [m for m in container["volumeMounts"] if "serviceaccount" in m["mountPath"]]
    assert all(one["restartCount"] == 0 for one in pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"])


def test_sha256_of_sources_is_what_is_compared(source):
    """What the Jobs compare with is what S3 gives, not what was put."""
    assert source.hashes() == {name: sha256(data) for name, data in papers().items()}


def test_scenario_1_a_claim_of_files_is_read_byte_for_byte_and_left_as_it_is(kube, clients_image, machine):
    """The claim belongs to somebody else: files of another owner and group, read through a supplemental group, changed by nobody."""
    node = machine.node("n2")
    with storage_class(kube, {"n2": node}) as claims:
        folder = f"{FOLDER}/{claims}-0"
        files = papers()
        for name, data in files.items():
            write(node, f"{folder}/2026/{name}", data)
        node.exec("chown", "-R", "4711:4712", folder)
        node.exec("chmod", "-R", "u=rwX,g=rX,o=", folder)
        kube.apply(claim("papers", claims))
        source = {"name": "files", "type": "File", "file": {"claimName": "papers", "path": "2026"}}
        groups = {"securityContext": {"supplementalGroups": [4712]}}
        table = Table(kube, "papers").apply(manifest("papers", [source], {"type": "Ephemeral"}, replicas=1, podTemplate=groups))
        table.ready()
        assert read(table, clients_image) == {name: sha256(data) for name, data in files.items()}

        write(node, f"{folder}/2026/late.pdf", b"%PDF-1.7 late")
        node.exec("chown", "4711:4712", f"{folder}/2026/late.pdf")
        table.refresh()
        assert read(table, clients_image)["late.pdf"] == sha256(b"%PDF-1.7 late")
        owners = node.exec("find", folder, "-mindepth", "1", "-printf", "%U:%G\\n", capture=True).stdout.split()
        assert set(owners) == {"4711:4712"}


def write(node, path: str, data: bytes) -> None:
    """Writes a file inside a node, where the volumes lie."""
    target = node.inside(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def claim(name: str, class_name: str) -> dict:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": class_name, "resources": {"requests": {"storage": "1Mi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
