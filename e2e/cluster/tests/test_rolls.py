"""Scenario 4: two replicas under constant read load, whatever is done to their pods: no failed read, no wrong byte."""

from __future__ import annotations

import subprocess

import pytest
from bucket import Bucket
from harness.metrics import Metrics
from image_names import tagged_again
from kube import until
from lib.artifacts import noise, papers
from local_volumes import storage_class
from reading import load
from releases import CHART
from table import Table, manifest

pytestmark = pytest.mark.usefixtures("operator")

ARTIFACTS = {f"scans/{number:03}.bin": noise(number, 100_000) for number in range(60)} | papers()


@pytest.fixture
def source(kube, buckets) -> Bucket:
    bucket = Bucket(buckets, kube.namespace)
    bucket.put(ARTIFACTS)
    bucket.secret(kube)
    return bucket


@pytest.fixture
def table(kube, source) -> Table:
    table = Table(kube, "scans").apply(manifest("scans", [source.source()], source.state()))
    table.ready()
    return table


def replaced(table: Table, before: dict[str, str], *, seconds: float = 120) -> None:
    """Waits until every pod is another one than before, and ready."""
    until("every pod is made anew", lambda: not set(before.values()) & set(table.uids().values()), seconds=seconds)
    table.ready(seconds=seconds)


def test_c33_c34_a_rolling_restart_with_claims_fails_no_read_and_keeps_caches_warm(kube, source, clients_image, machine):
    nodes = {name: machine.node(name) for name in machine.settings.names()}
    with storage_class(kube, nodes, each=2) as claims:
        disk = {"capacity": "256Mi", "volume": {"type": "PersistentVolumeClaim", "storageClassName": claims}}
        wanted = manifest("scans", [source.source()], source.state(), cache={"memory": {"capacity": "16Mi"}, "disk": disk})
        table = Table(kube, "scans").apply(wanted)
        table.ready()
        with load(table, clients_image, source.hashes()) as readers:
            hits, misses = table.lookups()
            window = readers.began()
            window.ends()
            now = table.lookups()
            before = (now[0] - hits) / (now[0] - hits + now[1] - misses)
            uids = table.uids()
            table.patch({"server": {"podTemplate": {"annotations": {"e2e/restarted": "once"}}}})
            replaced(table, uids)
            found = window.is_clean()
            # The new processes count from nothing: all that was looked up since they began.
            readers.goes_on(reads=200)
            hits, misses = table.lookups()
            after = hits / (hits + misses)
            print(f"{found['reads']} reads in {found['seconds']:.0f} s; hit ratio {before:.3f} before, {after:.3f} after; slowest {found['slowest']:.2f} s")
            assert after >= 0.95 * before, (before, after)
            # Two pods whose caches are lost miss each artifact once, and have as good a ratio soon.
            assert misses < len(ARTIFACTS), f"{misses} misses of {len(ARTIFACTS)} artifacts"


def test_c33_deleting_a_pod_fails_no_read(table, readers):
    window = readers.began()
    before = table.uids()
    table.kube("delete", "pod", "scans-0", "--wait=false")
    until("another scans-0", lambda: table.uids().get("scans-0") not in (None, before["scans-0"]))
    table.ready()
    window.is_clean()


def test_c37_a_drain_takes_one_pod_at_a_time_and_fails_no_read(table, readers, machine):
    """Both pods lie on the node that is drained: the budget lets one go, and the other when the first serves elsewhere."""
    kube = table.kube
    kube("cordon", "n1")
    try:
        before = table.uids()
        kube("delete", "pod", "-l", f"app.kubernetes.io/instance={table.name},app.kubernetes.io/component=server", "--field-selector=spec.nodeName=n1")
        until("pods on n2", lambda: {p["spec"].get("nodeName") for p in table.pods().values()} == {"n2"} and len(table.pods()) == 2)
        table.ready()
        kube("uncordon", "n1")
        window = readers.began()
        before = table.uids()
        least = len(before)
        drain = _start(kube, "drain", "n2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s", "--pod-selector", f"app.kubernetes.io/instance={table.name}")
        while drain.poll() is None:
            serving = sum(any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", [])) for p in table.pods().values())
            least = min(least, serving)
        assert drain.returncode == 0, drain.stdout.read()
        replaced(table, before)
        assert least >= 1
        window.is_clean()
    finally:
        kube("uncordon", "n1")
        kube("uncordon", "n2")


def _start(kube, *args):
    return subprocess.Popen(
        [kube.bin / "kubectl", "-n", kube.namespace, *args], env=kube.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_c37_a_table_of_one_replica_does_not_block_a_drain(kube, source, machine):
    wanted = manifest("single", [source.source()], source.state(), replicas=1, podTemplate={"nodeSelector": {"kubernetes.io/hostname": "n2"}})
    table = Table(kube, "single").apply(wanted)
    table.ready()
    assert not kube.exists("pdb", "single")
    try:
        kube("drain", "n2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s", "--pod-selector", "app.kubernetes.io/instance=single")
    finally:
        kube("uncordon", "n2")
    table.ready()


def test_scenario_4_scaling_to_one_to_three_and_to_two_fails_no_read(table, readers):
    window = readers.began()
    for replicas in (1, 3, 2):
        table.kube("scale", "vt", table.name, f"--replicas={replicas}")
        table.until("Ready", "True", "Serving")
        until(f"{replicas} pods", lambda: len(table.pods()) == replicas)  # noqa: B023
        table.ready()
        readers.goes_on()
    window.is_clean()


def test_scenario_4_an_autoscaler_owns_the_replicas_and_no_read_fails(table, readers, machine):
    kube = table.kube
    scaler = {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "scans"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "scans"}, "minReplicas": 2, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "100m"}}}],
        },
    }  # fmt: skip
    window = readers.began()
    with Metrics(machine.settings) as metrics:
        metrics.cpu = "400m"
        kube.apply(scaler)
        until("the autoscaler asks for three", lambda: table.object["spec"]["server"]["replicas"] == 3, seconds=60)
        until("three pods", lambda: len(table.pods()) == 3)
        table.ready()
    window.is_clean()


def test_c38_cpu_and_memory_change_in_place_under_load(table, readers):
    window = readers.began()
    before = {name: pod["metadata"]["uid"] for name, pod in table.pods().items()}
    more = {"requests": {"cpu": "30m", "memory": "96Mi"}, "limits": {"memory": "1280Mi"}}
    table.patch({"server": {"resources": {"server": more}}})

    def resized() -> bool:
        statuses = [status for pod in table.pods().values() for status in pod["status"]["initContainerStatuses"]]
        return all(status.get("resources", {}).get("limits", {}).get("memory") == "1280Mi" for status in statuses)

    until("the kubelet has resized the servers", resized, seconds=60)
    table.ready()
    pods = table.pods()
    assert {name: pod["metadata"]["uid"] for name, pod in pods.items()} == before
    assert all(one["restartCount"] == 0 for pod in pods.values() for one in pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"])
    window.is_clean()


def test_scenario_4_another_image_is_rolled_out_without_a_failed_read(kube, source, clients_image, machine, other_images):
    """With caches on claims that come and go with their pods."""
    nodes = {name: machine.node(name) for name in machine.settings.names()}
    caches = lambda: {one["metadata"]["uid"] for one in kube.list("pvc", "vdt.io/claim=cache") if one["status"]["phase"] == "Bound"}  # noqa: E731
    with storage_class(kube, nodes, each=4) as claims:  # nobody takes a volume that was another claim's
        disk = {"capacity": "256Mi", "volume": {"type": "EphemeralVolume", "storageClassName": claims}}
        wanted = manifest("scans", [source.source()], source.state(), cache={"memory": {"capacity": "64Mi"}, "disk": disk})
        table = Table(kube, "scans").apply(wanted)
        table.ready()
        before = caches()
        assert len(before) == 2
        with load(table, clients_image, source.hashes()) as readers:
            window = readers.began()
            uids = table.uids()
            table.patch({"server": {"images": other_images}})
            replaced(table, uids)
            assert {c["image"] for pod in table.pods().values() for c in pod["spec"]["containers"]} == {other_images["sidecar"]}
            window.is_clean()
        table.until("CacheReady", "True")
        assert len(caches()) == 2 and not caches() & before


@pytest.fixture
def other_images(machine) -> dict[str, str]:
    """The same images by another name: what a change of the name does is what is tested."""
    return {name: tagged_again(machine, f"registry.local/vdt-{name}") for name in ("server", "sidecar")}


def test_b28_an_upgrade_of_the_chart_rolls_no_pod_and_fails_no_read(table, readers, operator, system):
    window = readers.began()
    before = table.uids()
    leaders = {p["metadata"]["uid"] for p in system.list("pod", f"app.kubernetes.io/instance={operator}")}
    system.helm("upgrade", operator, CHART, "--reuse-values", "--set=pod.annotations.e2e=upgraded", "--wait", "--timeout=90s")
    now = {p["metadata"]["uid"] for p in system.list("pod", f"app.kubernetes.io/instance={operator}") if "deletionTimestamp" not in p["metadata"]}
    assert not leaders & now
    # The new operator has the table in hand: it acts on a change of it.
    table.patch({"server": {"disruption": {"maxUnavailable": 2}}})
    until("the new operator acts", lambda: table.kube.get("pdb", table.name)["spec"]["maxUnavailable"] == 2)
    table.ready()
    assert table.uids() == before
    window.is_clean()
