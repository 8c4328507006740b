"""Scenario 4: a release and a table that an earlier version left (`e2e/earlier`) become today's under constant read load. The images of that version are not here:
its pods have its templates, arguments and manifests, and today's binaries."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import yaml
from bucket import Bucket
from earlier.restore import ADMIN_KEY, IMAGES, LEASE, OPERATOR, SYSTEM, Earlier, fixtures
from image_names import tagged_again
from kube import Kube, keep, namespace, until
from lib.artifacts import noise, papers
from local_volumes import storage_class
from measured import ARTIFACTS
from reading import load
from releases import CHART, ROOT, release
from table import Table

CRD = "virtualtables.vdt.io"
DEFINITION = ROOT / "crds" / f"{CRD}.yaml"


@pytest.fixture(params=fixtures(), ids=lambda folder: folder.name)
def left(request) -> Earlier:
    """What a version left."""
    return Earlier(request.param)


@pytest.fixture
def kube(cluster, request, logs, left):
    """kubectl in the namespace of that version's tables: its name is in templates, whose hashes stand beside them."""
    until("it is not there from before", lambda: not cluster("get", "namespace", left.namespace, "--ignore-not-found"))
    with namespace(cluster, left.namespace) as inside:
        logs.tests[inside.namespace] = request.node.nodeid
        yield inside
        if getattr(request.node, "failed", False):
            keep(inside, ARTIFACTS / left.namespace)
        logs.leave(inside)


@pytest.fixture
def source(kube, buckets) -> Bucket:
    """The table's bucket, and the Service by whose name it knows it."""
    bucket = Bucket(buckets, kube.namespace)
    bucket.put({f"scans/{number:03}.bin": noise(number, 100_000) for number in range(60)} | papers())
    bucket.secret(kube)
    at = urlsplit(buckets.endpoint)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s3"}, "spec": {"ports": [{"port": 8333}]}}
    there = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s3", "labels": {"kubernetes.io/service-name": "s3"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [at.hostname]}], "ports": [{"port": at.port}],
    }  # fmt: skip
    kube.apply(service, there)
    return bucket


@pytest.fixture
def earlier(left, kube, system, images, machine, source):
    """The name of an installed release of the earlier chart, without a process of its operator, and a table of two pods that serve."""
    nodes = {name: machine.node(name) for name in machine.settings.names()}
    assert {kind: tagged_again(machine, f"registry.local/vdt-{kind}") for kind in IMAGES} == IMAGES
    try:
        with storage_class(kube, nodes, each=2), release(system, images, "--set=replicas=0", "--force-conflicts", chart=str(left.chart)) as name:
            assert schema(kube.get("crd", CRD)) == schema(yaml.safe_load(left.definition.read_text()))
            renamed = replace(left, names={ADMIN_KEY: f"{name}-admin-key", LEASE: f"{name}-leader", SYSTEM: system.namespace})
            restore(renamed, OPERATOR, system)
            restore(renamed, "scans", kube)
            table = Table(kube, "scans")
            until("pods of the earlier version serve", lambda: [serves(pod) for pod in table.pods().values()] == [True, True])
            yield name, table
    finally:
        # It is that of the whole run, whatever became of this.
        kube("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITION))


def restore(left: Earlier, part: str, kube: Kube) -> None:
    def create(one: dict) -> dict:
        return json.loads(kube("create", "-o", "json", "-f", "-", stdin=yaml.safe_dump(one)))

    def patch(one: dict, body: dict, sub: str) -> None:
        kube("patch", one["kind"], one["metadata"]["name"], f"--subresource={sub}", "--type=merge", "-p", json.dumps(body))

    left.restore(part, create, patch)


def schema(definition: dict) -> dict:
    return definition["spec"]["versions"][0]["schema"]


def serves(pod: dict) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


def images_of(table: Table) -> set[str]:
    return {one["image"] for pod in table.pods().values() for one in pod["spec"]["initContainers"] + pod["spec"]["containers"]}


def test_b28_from_an_earlier_version_no_pod_is_rolled_by_the_upgrade_and_no_read_fails(kube, system, earlier, source, clients_image):
    name, table = earlier
    artifacts = source.hashes()
    before, images = table.uids(), images_of(table)
    template = kube.get("statefulset", "scans")["spec"]
    with load(table, clients_image, artifacts) as readers:
        window = readers.began()
        system.helm("upgrade", "--install", name, CHART, "--reset-then-reuse-values", "--set=replicas=2", "--wait", "--timeout=90s")
        assert schema(kube.get("crd", CRD)) == schema(yaml.safe_load(DEFINITION.read_text()))
        # It was Ready when it was restored: this number is that of its pods, which let today's operator in.
        until("its pods are asked and told", lambda: table.object["status"]["artifacts"] == len(artifacts))
        table.ready()
        assert table.uids() == before
        assert kube.get("statefulset", "scans")["spec"] == template
        assert all(one["restartCount"] == 0 for pod in table.pods().values() for one in pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"])
        window.is_clean()

        window = readers.began()
        table.patch({"server": {"rollout": {"drainSeconds": 6}}})
        until("every pod is made anew", lambda: not set(before.values()) & set(table.uids().values()), seconds=120)
        table.ready()
        assert not images_of(table) & images
        window.is_clean()
