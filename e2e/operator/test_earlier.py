"""Check B28, on objects that an earlier version left (`e2e/earlier`): today's definition and operator take them over, and replace no pod before somebody changes a table."""

from __future__ import annotations

import json

import pytest
from conftest import DEFINITION, SOON_SECONDS, define, restricted
from control_plane import wait
from earlier.restore import ADMIN_KEY, GIVEN, OPERATOR, SYSTEM, TABLES, Earlier, fixtures
from tables import children, condition, until_ready

PODS = {"scans": 2, "papers": 1}
TODAYS = "registry.test/vdt-server:today"


@pytest.fixture(params=fixtures(), ids=lambda folder: folder.name)
def earlier(request, plane):
    """A fixture, whose definition is the cluster's."""
    found = Earlier(request.param)
    define(plane, found.definition)
    yield found
    define(plane, DEFINITION)


@pytest.fixture
def namespace(api, earlier):
    """That of the fixture. Nobody else has it."""
    with restricted(api, earlier.namespace) as name:
        yield name


@pytest.fixture
def restored(api, pods, operator, namespace, earlier):
    """All of it is there, its pods serve, and no operator runs."""

    def create(one: dict) -> dict:
        # Until the definition is served.
        return wait(f"{one['metadata']['name']} is taken", lambda: api.create(one["kind"], one, one["metadata"]["namespace"]), SOON_SECONDS)

    def patch(one: dict, body: dict, sub: str) -> None:
        api.patch(one["kind"], one["metadata"]["name"], body, one["metadata"]["namespace"], sub and f"/{sub}")

    for one in GIVEN:
        api.create(one["kind"], one, namespace)
    # The operators of all tests share it: whichever comes next makes its own.
    api.delete("Secret", ADMIN_KEY, SYSTEM)
    for part in (OPERATOR, *TABLES):
        earlier.restore(part, create, patch)
    wait("pods serve", lambda: sum(serves(pod) for pod in api.list("Pod", namespace)) == sum(PODS.values()))
    yield earlier
    api.delete("Secret", ADMIN_KEY, SYSTEM)


def serves(pod: dict) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", []))


def uids(api, namespace: str, table: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in api.list("Pod", namespace, labelSelector=f"app.kubernetes.io/instance={table}")}


def test_b28_what_an_earlier_version_left_is_taken_over_and_rolls_with_the_next_change(api, plane, pods, operator, namespace, restored):
    def get(kind: str, name: str) -> dict:
        return api.get(kind, name, namespace)

    def left(table: str) -> tuple:
        found = children(api, namespace, table)
        template = get("StatefulSet", table)["spec"]
        ready = condition(get("VirtualTable", table), "Ready")
        return {key: child and child["metadata"]["uid"] for key, child in found.items()}, template, uids(api, namespace, table), ready["lastTransitionTime"]

    before = {table: left(table) for table in TABLES}
    key = get("ConfigMap", "scans-config-v1")["data"]["keys.pem"]
    assert all(before[table][3] for table in TABLES)
    mark, refused = plane.mark(), pods.refused

    define(plane, DEFINITION)
    for table in TABLES:
        (report,) = pods.healthy(f"{namespace}/{table}")
        pods.reports[f"{namespace}/{table}"] = [report | {"table": f"main/docs/{table}", "artifacts": 413}]
    operator.start(f"--server-image={TODAYS}")
    for table in TABLES:
        # It was Ready when it was restored: this number is of today.
        wait("it is asked and told", lambda: get("VirtualTable", table)["status"]["artifacts"] == 413, 60)  # noqa: B023
        until_ready(api, namespace, table)
    # What restarts nothing follows at once: a port that is let through since, and what keeps Argo CD from deleting a state.
    ports = lambda: json.dumps(get("NetworkPolicy", "scans")["spec"]["egress"])  # noqa: E731
    wait("the policy is of today", lambda: "9443" in ports(), SOON_SECONDS)
    wait("so is the state's claim", lambda: "argocd.argoproj.io/sync-options" in get("PersistentVolumeClaim", "papers-state")["metadata"]["annotations"], SOON_SECONDS)
    assert {table: left(table) for table in TABLES} == before
    # Tokens are of the key that the pods know.
    assert get("ConfigMap", "scans-config-v1")["data"]["keys.pem"] == key
    assert pods.refused == refused
    asked = plane.requests(mark, namespace)
    assert [one for one in asked if one[0] == "delete"] == []

    pods.least_ready.clear()
    for table in TABLES:
        api.patch("VirtualTable", table, {"spec": {"server": {"rollout": {"drainSeconds": 7}}}}, namespace)
    for table in TABLES:
        pods_before = before[table][2]
        wait("pods are new", lambda: len(uids(api, namespace, table)) == PODS[table] and not uids(api, namespace, table) & pods_before, 60)  # noqa: B023
        until_ready(api, namespace, table)
        template = get("StatefulSet", table)["spec"]["template"]
        assert template["spec"]["initContainers"][0]["image"] == TODAYS
        # What is refused since is acted upon without; it may stay.
        assert "/elsewhere" not in json.dumps(template)
    assert pods.least_ready[f"{namespace}/scans"] == 1
