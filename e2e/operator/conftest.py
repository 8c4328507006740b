"""One control plane for all tests; an operator, a proxy and a namespace for each."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from control_plane import BIN, ControlPlane, free_port, process, wait
from expected import EXPECTED
from lib.complaints import complaints, fail
from lib.process import Process
from measured import NUMBERS
from pods import Pods
from proxy import Proxy

pytest_plugins = ["lib.contended"]

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = ROOT / "crds/virtualtables.vdt.io.yaml"
LEASE_SECONDS = 4
SOON_SECONDS = 15
"""What comes within this was seen by a watch: the operator looks by itself after 20 s at the earliest. How soon it came is measured and told."""
AIM_SECONDS = 5
"""How soon drift is repaired and what is missing told; found were tenths of a second."""
EXPLAINED = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/kubernetes/troubleshooting.md").read_text(), re.MULTILINE))
EVENTS = EXPLAINED | {"Serving", "NodeLost"}
"""Reasons that events about tables may have: those that are explained, and two that need no explanation."""


def grant(plane: ControlPlane, namespace: str, *values: str) -> None:
    """The chart's rights of an operator in a namespace."""
    chart = subprocess.run(
        [BIN / "helm", "template", "vdt-operator", os.environ.get("VDT_CHART", ROOT / "charts/vdt"), "-n", namespace,
         "--set", ",".join(["crds.enabled=false", "serviceAccount.name=vdt-operator", *values])],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    roles = [one for one in yaml.safe_load_all(chart) if one and one["kind"] in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(roles))


def define(plane: ControlPlane, definition: Path) -> None:
    """Applies the definition, this version's or another one's."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(definition))
    # It fails where the definition has no conditions at all yet.
    established = ("wait", "--for=condition=Established", "crd/virtualtables.vdt.io")
    wait("the definition is established", lambda: "condition met" in plane.kubectl(*established, check=False))


@contextmanager
def started(folder: Path) -> Iterator[ControlPlane]:
    """A control plane with the definition and the chart's rights."""
    plane = ControlPlane(folder)
    try:
        plane.start()
        define(plane, DEFINITION)
        plane.kubectl("create", "namespace", "vdt-system")
        grant(plane, "vdt-system", "secrets.watch=true")
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def plane(tmp_path_factory):
    with started(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def api(plane):
    return plane.api


@pytest.fixture(scope="session")
def pods(api):
    pods = Pods(api)
    yield pods
    pods.stop()


@pytest.fixture
def numbers():
    return NUMBERS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What was asked for in the whole run is looked at last."""
    items.sort(key=lambda item: item.path.stem == "test_rights")


def pytest_terminal_summary(terminalreporter):
    NUMBERS.tell(terminalreporter)


@pytest.fixture
def proxy(plane):
    proxy = Proxy(plane.port, plane.folder / "ca.crt")
    yield proxy
    proxy.cut()


STARTED: list[Process] = []
"""Operators of the running test."""


@pytest.fixture(autouse=True)
def complaints_are_expected(request, tmp_path):
    """An operator that complains of what nobody expects fails its test, after it. (`tmp_path`: so that the logs are there until then.)"""
    STARTED.clear()
    yield
    name = request.node.name.removeprefix("test_")
    found = [line for one in STARTED for line in complaints(name, one.output().splitlines(), EXPECTED)]
    fail({name: found}, {name: request.node.nodeid})


class Operator:
    """Processes of the operator."""

    def __init__(self, plane, pods, folder: Path, kubeconfig: Path):
        self.plane, self.pods, self.folder, self.kubeconfig = plane, pods, folder, kubeconfig
        self.running: list[Process] = []
        self.metrics_port = 0

    def start(self, *args: str, name: str = "one", ready: bool = True, env: dict | None = None, lease_seconds: int = LEASE_SECONDS, lease: str = "vdt-operator-leader") -> Process:
        self.metrics_port, health = free_port(), free_port()
        started = process(
            self.folder / f"operator-{name}-{len(self.running)}.log", os.environ["VDT_OPERATOR"], "run", "--lease-seconds", lease_seconds,
            f"--lease-name={lease}", "--admin-key-secret=vdt-operator-admin-key", f"--metrics-listen=127.0.0.1:{self.metrics_port}",
            f"--health-listen=127.0.0.1:{health}", f"--admin-port={self.pods.port}", "--log-format=text", "--log=info,vdt_operator=debug", *args,
            env={"KUBECONFIG": str(self.kubeconfig), "POD_NAMESPACE": "vdt-system", "POD_NAME": name, **(env or {})},
        )  # fmt: skip
        started.metrics_port, started.health_port = self.metrics_port, health
        self.running.append(started)
        STARTED.append(started)
        if ready:
            wait("the operator is ready", lambda: get(f"http://127.0.0.1:{health}/readyz") == "ok\n", 20)
        return started

    def metrics(self) -> str:
        return get(f"http://127.0.0.1:{self.metrics_port}/metrics") or ""

    def stop(self):
        for one in self.running:
            one.terminate()


def get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return None


def fresh(pods):
    pods.ready = True
    pods.reports.clear()
    pods.silent = set()
    pods.cache = {"tiers": {"memory": {"state": "Ok"}, "disk": {"state": "Ok"}}}
    pods.least_ready.clear()


@pytest.fixture
def operator(plane, pods, tmp_path, namespace):
    fresh(pods)
    operator = Operator(plane, pods, tmp_path, plane.kubeconfig("operator"))
    yield operator
    operator.stop()


@pytest.fixture
def behind(plane, pods, proxy, tmp_path, namespace):
    """An operator behind the proxy."""
    fresh(pods)
    operator = Operator(plane, pods, tmp_path, plane.kubeconfig("operator", proxy.url))
    yield operator
    operator.stop()


@contextmanager
def restricted(api, name: str) -> Iterator[str]:
    """A namespace that takes restricted pods only."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.create("Namespace", {"metadata": {"name": name, "labels": labels}}, None)
    yield name
    events = [one for one in api.list("Event", name) if one.get("regarding", {}).get("kind") == "VirtualTable"]
    api.delete("Namespace", name, None)
    # Of whatever a test did.
    assert {one["reason"] for one in events} <= EVENTS


@pytest.fixture
def namespace(api):
    with restricted(api, f"t-{uuid.uuid4().hex[:8]}") as name:
        yield name
