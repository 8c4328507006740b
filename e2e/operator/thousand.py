"""Scenario 7: an operator of a thousand tables beside many Secrets that are not its own. Measured, not asserted; not part of the tests.

    e2e/operator/test.sh --thousand [TABLES] [SECRETS]      names the binary in VDT_OPERATOR

All tables but POLLED are at replicas 0. Those have a pod each, played, whose admin API is asked. `secrets.watch` is on. Requests are those of the API
server's audit log, watches that are held open not among them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import Operator, started
from control_plane import ApiError, wait
from pods import Pods
from tables import condition, table

POLLED = 50
NAMESPACES = 10
STEADY_SECONDS = 60
LEASE_SECONDS = 15
"""As the chart leaves it: a lease is asked for and written five times in its duration."""


def mib(pid: int, name: str) -> float:
    """What the kernel says of a process's memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def requests(plane) -> int:
    with plane.audit.open() as lines:
        return sum('"verb":"watch"' not in line for line in lines)


def fill(api, tables: int, secrets: int) -> None:
    for name in ["foreign", *(f"docs-{number}" for number in range(NAMESPACES))]:
        api.create("Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, None)

    def secret(number: int) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s-{number}"}, "stringData": {"key": "x" * 200}}
        api.create("Secret", body, "foreign")

    def one(number: int) -> None:
        api.create("VirtualTable", table(f"t-{number}", replicas=int(number < POLLED)), f"docs-{number % NAMESPACES}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(secret, range(secrets)))
        list(pool.map(one, range(tables)))


def ready(api) -> int:
    found = api.list("VirtualTable", None)
    return sum(condition(one, "Ready").get("status") == "True" for one in found)


def main() -> None:
    tables, secrets = (int(arg) for arg in [*sys.argv[1:], *("1000", "20000")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "plane"
        at.mkdir()
        with started(at) as plane:
            pods = Pods(plane.api)
            try:
                measure(plane, pods, Path(folder), tables, secrets)
            finally:
                pods.stop()


def measure(plane, pods: Pods, folder: Path, tables: int, secrets: int) -> None:
    api, told = plane.api, {"tables": tables, "foreign secrets": secrets, "tables with a pod": min(POLLED, tables)}
    fill(api, tables, secrets)
    operator = Operator(plane, pods, folder, plane.kubeconfig("operator"))
    try:
        began = time.monotonic()
        first = operator.start("--secrets-watch", "--leader-elect", name="first", lease_seconds=LEASE_SECONDS)
        told["stores full, s"] = time.monotonic() - began
        wait("all tables are ready", lambda: ready(api) == tables, 600, 1)
        told["new tables to ready, s"] = time.monotonic() - began
        first.terminate()

        began, before = time.monotonic(), requests(plane)
        again = operator.start("--secrets-watch", "--leader-elect", name="again", lease_seconds=LEASE_SECONDS)
        told["stores full after a restart, s"] = time.monotonic() - began
        wait("every table was looked at", lambda: looks(operator) >= tables, 600, 0.5)
        told["initial sync after a restart, s"] = time.monotonic() - began
        told["requests of it"] = requests(plane) - before
        time.sleep(30)
        asked, before, cpu, began = len(pods.asked), requests(plane), again.cpu_seconds(), time.monotonic()
        time.sleep(STEADY_SECONDS)
        passed = time.monotonic() - began
        told["steady, requests/s"] = (requests(plane) - before) / passed
        told["steady, questions to pods/s"] = (len(pods.asked) - asked) / passed
        told["steady, CPU, % of a core"] = 100 * (again.cpu_seconds() - cpu) / passed
        told["RSS, MiB"], told["RSS at most, MiB"] = mib(again.pid, "VmRSS"), mib(again.pid, "VmHWM")
    finally:
        for one in operator.running:
            one.terminate()
    print(json.dumps({name: round(value, 2) for name, value in told.items()}, indent=1))


def looks(operator: Operator) -> float:
    lines = operator.metrics().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("controller_runtime_reconcile_total{"))


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        sys.exit(f"thousand: {error}")
