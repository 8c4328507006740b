"""The cluster of all tests below, started once; and a namespace for each test.

`E2E_KUBECONFIG` names a cluster of your own instead (kind, k3d, anything): nothing is started then, images must be there,
and tests that stop nodes or components are skipped. `E2E_CLUSTER_KEEP=1` leaves the cluster running afterwards, and takes
one that runs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api import Api  # noqa: E402  (this folder is on no path when pytest starts above it)
from bucket import Bucket  # noqa: E402
from harness import cli, control  # noqa: E402
from harness.node import Node  # noqa: E402
from harness.settings import Settings, binaries  # noqa: E402
from kube import Kube, keep, namespace, until  # noqa: E402
from lib.artifacts import papers  # noqa: E402
from lib.complaints import fail  # noqa: E402
from lib.seaweed import SeaweedFS  # noqa: E402
from logs import Logs  # noqa: E402
from measured import ARTIFACTS, NUMBERS, Numbers  # noqa: E402
from reading import load  # noqa: E402
from releases import release  # noqa: E402
from seaweed_pod import IMAGE, SeaweedPod  # noqa: E402

KEEP = os.environ.get("E2E_CLUSTER_KEEP") == "1"


class Machine:
    """The cluster's nodes and components, where they are ours to stop."""

    def __init__(self, settings: Settings):
        self.settings = settings

    def node(self, name: str) -> Node:
        return Node(self.settings, name)

    def load(self, *archives: Path) -> None:
        from harness import images

        images.load(self.settings, [self.node(n) for n in self.settings.names()], list(archives))


@pytest.fixture(scope="session")
def own_machine():
    """Our cluster, or None when the tests run in another."""
    if os.environ.get("E2E_KUBECONFIG"):
        yield None
        return
    settings = Settings.from_environment()
    held = cli.lock(settings)
    try:
        if not (KEEP and settings.kubeconfig.exists() and control.nodes_ready(settings)):
            cli.up(settings, [])
        yield Machine(settings)
    finally:
        if not KEEP:
            kept = ARTIFACTS / "cluster"
            shutil.rmtree(kept, ignore_errors=True)
            for logs in settings.work.glob("n*/log"):
                shutil.copytree(logs, kept / logs.parent.name)
            cli.down(settings)
        del held


@pytest.fixture(scope="session", autouse=True)
def logs(own_machine) -> Iterator[Logs]:
    """Of all pods of the run: one of ours that complains of what nobody expects fails it."""
    logs = Logs([own_machine.node(name) for name in own_machine.settings.names()] if own_machine else [])
    try:
        yield logs
        fail(logs.complaints(), logs.tests)
    finally:
        logs.stop()


@pytest.fixture
def machine(own_machine):
    if own_machine is None:
        pytest.skip("E2E_KUBECONFIG: its nodes are not ours to stop")
    return own_machine


@pytest.fixture(scope="session")
def cluster(own_machine, tmp_path_factory) -> Iterator[Kube]:
    """kubectl as administrator."""
    if own_machine is None:
        kubeconfig, programs = Path(os.environ["E2E_KUBECONFIG"]).resolve(), binaries()
    else:
        kubeconfig, programs = own_machine.settings.kubeconfig, own_machine.settings.bin
    api = Api(kubeconfig, programs / "kubectl", tmp_path_factory.mktemp("api"))
    yield Kube(kubeconfig, programs, api)
    api.stop()


@pytest.fixture(scope="session")
def definitions(cluster):
    """The CustomResourceDefinition, as committed."""
    for file in sorted((Path(__file__).resolve().parents[2] / "crds").glob("*.yaml")):
        cluster("apply", "--server-side", "--force-conflicts", "-f", str(file))

    def established() -> bool:
        # Not by kubectl's wait: it fails where there are no conditions at all yet.
        conditions = cluster.get("crd", "virtualtables.vdt.io").get("status", {}).get("conditions") or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    until("the definition is established", established)


@pytest.fixture(scope="session")
def images(own_machine) -> list[str]:
    """helm's arguments for the images of this checkout, which every node has: those below `E2E_IMAGES`, as `test.sh` builds them."""
    if own_machine is not None:
        folder = os.environ.get("E2E_IMAGES")
        if not folder:
            pytest.fail("E2E_IMAGES names no folder with the archives of image/build.py: run e2e/cluster/test.sh")
        own_machine.load(*sorted(Path(folder).glob("vdt-*.tar")))
    return ["--set=images.registry=registry.local,images.pullPolicy=Never"]


@pytest.fixture(scope="session")
def clients_image(own_machine) -> str:
    """An image with Python, deltalake and polars, for Jobs in the cluster."""
    from harness import clients

    if own_machine is not None:
        own_machine.load(clients.build())
    return clients.NAME


@pytest.fixture(scope="session")
def buckets(own_machine, cluster, tmp_path_factory):
    """An S3 service that pods reach at its `endpoint`. It lies outside of our nodes, so that it outlives them; pods of another cluster
    do not reach this machine: there it is one of them."""
    folder = tmp_path_factory.mktemp("buckets")
    if own_machine is None:
        with namespace(cluster, f"e2e-system-buckets-{uuid.uuid4().hex[:4]}") as inside:
            service = SeaweedPod(inside, folder, os.environ.get("E2E_SEAWEED_IMAGE") or IMAGE).start()
            yield service
            service.end()
        return
    service = SeaweedFS(folder, address=f"{own_machine.settings.network}.1").start()
    yield service
    service.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def system(cluster, definitions, request, logs):
    """The namespace of this module's operator."""
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    with namespace(cluster, f"e2e-system-{name}-{uuid.uuid4().hex[:4]}") as inside:
        yield inside
        logs.leave(inside)


@pytest.fixture(scope="module")
def operator(system, images):
    """A release of the chart for all tests of a module: its name. Two at once would serve the same tables."""
    with release(system, images, "--set=secrets.watch=true") as name:
        yield name


@pytest.fixture
def source(kube, buckets) -> Bucket:
    """A bucket of real PDFs and the Secret that reads it. Modules that need other artifacts have one of their own."""
    bucket = Bucket(buckets, kube.namespace)
    bucket.put(papers())
    bucket.secret(kube)
    return bucket


@pytest.fixture
def readers(table, source, clients_image):
    """Readers of the module's `table` without pause, who compare every body with `source`."""
    with load(table, clients_image, source.hashes()) as readers:
        yield readers


@pytest.fixture
def numbers() -> Numbers:
    return NUMBERS


def pytest_terminal_summary(terminalreporter):
    NUMBERS.tell(terminalreporter)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report


@pytest.fixture
def kube(cluster, request, logs):
    """kubectl in a namespace of the test's own, with restricted pod security. What explains a failure is kept."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    # Not the name of one that is still on its way out.
    with namespace(cluster, f"e2e-{name[:40].strip('-')}-{uuid.uuid4().hex[:4]}") as inside:
        logs.tests[inside.namespace] = request.node.nodeid
        yield inside
        if getattr(request.node, "failed", False):
            keep(inside, ARTIFACTS / name[:100])
        logs.leave(inside)
