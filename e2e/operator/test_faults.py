"""Checks behind the proxy: errors, cuts, stale watches, crashes between any two writes, partitions."""

from __future__ import annotations

import json
import re
import signal
import threading
import time

import pytest
from conftest import LEASE_SECONDS, get
from control_plane import wait
from tables import children, holder, is_ready, table, until_ready, versions


@pytest.mark.parametrize("code", [409, 429, 500, 503, 504])
def test_b22_errors_are_waited_out(api, proxy, behind, namespace, code):
    behind.start()
    left = {"count": 10}

    def rule(request):
        if request.is_write and left["count"] > 0:
            left["count"] -= 1
            return code
        return None

    proxy.rule = rule
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace, seconds=60)
    assert left["count"] == 0 or code == 409  # a conflict of a status is left to the next look


def test_b22_who_is_told_to_come_back_later_costs_few_requests(api, proxy, behind, namespace):
    """429 with a Retry-After of a second, as API priority and fairness says it. The header is not read: a table has a back-off of its own, of half a second at least."""
    behind.start()
    refused = []

    def rule(request):
        if request.is_write and len(refused) < 5:
            refused.append(time.monotonic())
            return 429
        return None

    proxy.rule, proxy.retry_after = rule, 1
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace, seconds=60)
    assert len(refused) == 5
    # A refusal ends a look, whose status is tried too: five of them are three looks.
    first, second = refused[2] - refused[0], refused[4] - refused[2]
    assert first >= 0.45 and second >= 0.45, refused
    writes = [one for one in proxy.requests if one[1] in ("POST", "PATCH", "PUT", "DELETE") and f"/namespaces/{namespace}/" in one[2] and "/events" not in one[2]]
    assert len(writes) < 40, writes


def test_b22_a_watch_whose_version_is_gone_lists_anew(api, proxy, behind, namespace):
    """410, which API servers say by an event of the watch and never by its answer. What happened before the new list is seen in it."""
    behind.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    told = []

    def rule(request):
        if not request.is_watch or "/leases" in request.path:
            return None
        kind = request.path.partition("?")[0]
        if kind in told:
            return None
        told.append(kind)
        return "gone"

    proxy.requests.clear()
    proxy.rule = rule
    proxy.cut()
    api.patch("Service", "manuals", {"spec": {"selector": {"app.kubernetes.io/instance": "other"}}}, namespace)
    api.delete("PodDisruptionBudget", "manuals", namespace)
    wait("put back", lambda: api.get("Service", "manuals", namespace)["spec"]["selector"]["app.kubernetes.io/instance"] == "manuals", 30)
    wait("made anew", lambda: api.get("PodDisruptionBudget", "manuals", namespace), 30)
    assert any(kind.endswith("/virtualtables") for kind in told) and any(kind.endswith("/services") for kind in told), told

    def lists() -> list[str]:
        return [path.partition("?")[0] for _, method, path in proxy.requests if method == "GET" and "watch=" not in path]

    # Also of kinds whose watch was told last.
    wait("all are listed anew", lambda: set(told) <= set(lists()), 30)
    listed = lists()
    # One list of each, and a watch that holds: no hot loop.
    assert all(listed.count(kind) <= 3 for kind in told), listed


def test_b21_what_could_not_be_done_is_not_observed(api, proxy, behind, namespace):
    behind.start()
    api.apply("VirtualTable", table(), namespace)
    before = until_ready(api, namespace)["metadata"]["generation"]
    proxy.rule = lambda request: 500 if request.is_write and "poddisruptionbudgets" in request.path else None
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"disruption": {"maxUnavailable": 2}}}}, namespace)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        found = api.get("VirtualTable", "manuals", namespace)
        assert found["metadata"]["generation"] == before + 1
        assert found["status"]["observedGeneration"] == before
        assert [one for one in found["status"]["conditions"] if one.get("observedGeneration", 0) > before and one["status"] == "True" and one["type"] == "Ready"] == []
        time.sleep(0.2)
    assert api.get("PodDisruptionBudget", "manuals", namespace)["spec"]["maxUnavailable"] == 1
    proxy.rule = None
    found = until_ready(api, namespace, seconds=30)
    assert found["status"]["observedGeneration"] == before + 1
    assert api.get("PodDisruptionBudget", "manuals", namespace)["spec"]["maxUnavailable"] == 2


def test_b31_it_is_not_ready_before_it_has_listed(api, proxy, behind, namespace):
    """One kind that cannot be listed is enough."""
    held = []

    def rule(request):
        if request.method == "GET" and "/statefulsets" in request.path:
            held.append(request.path)
            return 503
        return None

    proxy.rule = rule
    process = behind.start(ready=False)
    wait("it tries", lambda: len(held) >= 2, 20)
    at = f"http://127.0.0.1:{process.health_port}"
    assert get(f"{at}/healthz") == "ok\n"
    assert get(f"{at}/readyz") is None
    api.apply("VirtualTable", table(), namespace)
    time.sleep(1)
    assert get(f"{at}/readyz") is None
    assert api.get("VirtualTable", "manuals", namespace)["status"]["observedGeneration"] == -1, "nothing is acted upon that was seen in part"
    proxy.rule = None
    wait("it is ready", lambda: get(f"{at}/readyz") == "ok\n", 20)
    until_ready(api, namespace)


def test_b22_a_table_that_always_fails_is_no_hot_loop(api, proxy, behind, namespace):
    behind.start()
    proxy.rule = lambda request: 500 if request.is_write and "statefulsets" in request.path else None
    api.apply("VirtualTable", table(), namespace)
    time.sleep(8)
    proxy.requests.clear()
    time.sleep(12)
    about = [one for one in proxy.requests if "/leases" not in one[2] and "watch=true" not in one[2]]
    assert len(about) < 12, about
    found = api.get("VirtualTable", "manuals", namespace)
    assert found["status"]["observedGeneration"] == -1 or is_ready(api, namespace) is None
    proxy.rule = None
    # Another spec does not wait for the back-off of this one.
    api.patch("VirtualTable", "manuals", {"spec": {"refresh": {"intervalSeconds": 61}}}, namespace)
    until_ready(api, namespace, seconds=20)


def test_b22_cut_watches_and_a_slow_server(api, proxy, behind, namespace):
    behind.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    proxy.rule = lambda request: time.sleep(0.5)
    for _ in range(3):
        proxy.cut()
        time.sleep(0.5)
    api.patch("Service", "manuals", {"spec": {"selector": {"app.kubernetes.io/instance": "other"}}}, namespace)
    wait("put back", lambda: api.get("Service", "manuals", namespace)["spec"]["selector"]["app.kubernetes.io/instance"] == "manuals", 30)


def wanted_of(api, namespace: str, name: str) -> dict[str, dict]:
    """What the children of a table say, without what another table of the same spec has otherwise: names, identities, addresses, and hashes of them."""
    uid = api.get("VirtualTable", name, namespace)["metadata"]["uid"]
    found = {}
    for (kind, child_name), child in children(api, namespace, name).items():
        if child is None:
            continue
        meta = child["metadata"]
        annotations = {key: value for key, value in meta.get("annotations", {}).items() if key != "vdt.io/rendered"}
        owners = [(one["kind"], one["name"], one["uid"], one["controller"]) for one in meta["ownerReferences"]]
        said = {key: value for key, value in child.items() if key not in ("metadata", "status")}
        for field in ("clusterIP", "clusterIPs"):
            if said.get("spec", {}).get(field) not in (None, "None", ["None"]):
                del said["spec"][field]
        text = json.dumps([said, meta["labels"], annotations, owners], sort_keys=True).replace(uid, "UID").replace(name, "NAME")
        found[f"{kind} {child_name.replace(name, 'NAME')}"] = json.loads(re.sub(r"\b[0-9a-f]{32}\b", "HASH", text))
    return found


def test_b23_a_crash_after_any_write_converges(api, proxy, behind, namespace):
    """SIGKILL after the n-th write, for every n; the next operator ends where an undisturbed one does."""
    undisturbed = behind.start()
    api.apply("VirtualTable", table("calm"), namespace)
    until_ready(api, namespace, "calm")
    undisturbed.terminate()
    wanted = wanted_of(api, namespace, "calm")
    assert len(wanted) == 6
    for n in range(1, 26):
        name = f"killed{n}"
        writes = {"count": 0}
        process = behind.start(name=name)

        def after(request, n=n, process=process, writes=writes):
            writes["count"] += 1
            if writes["count"] == n:
                process.child.kill()

        proxy.after = after
        api.apply("VirtualTable", table(name), namespace)
        try:
            wait("it was killed", lambda: process.exit_code() is not None, 8)
            killed = True
        except TimeoutError:
            killed = False
        proxy.after = None
        if killed:
            process = behind.start(name=f"{name}-next")
        until_ready(api, namespace, name)
        assert wanted_of(api, namespace, name) == wanted
        process.terminate()
        api.delete("VirtualTable", name, namespace)
        if not killed:
            assert n > 8, "there were fewer writes than children"
            break
    else:
        pytest.fail("writes do not end")


def template_of(api, namespace: str) -> str:
    return api.get("StatefulSet", "manuals", namespace)["spec"]["template"]["metadata"]["annotations"]["vdt.io/template-hash"]


def rolled_by_another(api, operator, namespace: str) -> str:
    """Another operator gives a table of one pod a second one, and with it a budget, and replaces the first. Returns the new template."""
    before = template_of(api, namespace)

    def rolled() -> bool:
        template = template_of(api, namespace)
        pods = [one["metadata"]["annotations"]["vdt.io/template-hash"] for one in api.list("Pod", namespace)]
        return template != before and pods == [template] * 2 and bool(api.get("PodDisruptionBudget", "manuals", namespace))

    newer = operator.start(name="newer")
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"replicas": 2, "rollout": {"drainSeconds": 8}}}}, namespace)
    wait("the newer one is done", rolled, 40)
    newer.terminate()
    return template_of(api, namespace)


def asked_for(proxy, namespace: str) -> list[str]:
    """Looks at the table itself, which whoever wants to delete something takes before."""
    return [path for _, method, path in proxy.requests if method == "GET" and path.partition("?")[0].endswith(f"/{namespace}/virtualtables/manuals")]


def test_b24_a_stale_watch_deletes_nothing(api, proxy, behind, operator, namespace):
    behind.start(name="stale")
    api.apply("VirtualTable", table(replicas=1), namespace)
    until_ready(api, namespace)
    # It goes on believing in one replica, without a budget, and in the old template. What another one makes of the new spec it sees: a budget and pods.
    proxy.frozen = ("virtualtables", "statefulsets", "configmaps")
    proxy.requests.clear()
    rolled_by_another(api, operator, namespace)
    time.sleep(3)
    assert [one for one in proxy.requests if one[1] == "DELETE"] == []
    assert asked_for(proxy, namespace), "it wanted to delete nothing: there is nothing to refrain from"
    proxy.frozen = ()
    until_ready(api, namespace, seconds=40)


def test_b24_a_stale_list_deletes_nothing_and_rolls_nothing(api, proxy, behind, operator, namespace):
    """An operator that starts beside an API server which lags behind: what it lists is what was before another operator acted."""
    stale = ("virtualtables", "statefulsets", "configmaps")
    first = behind.start(name="first")
    api.apply("VirtualTable", table(replicas=1), namespace)
    until_ready(api, namespace)
    first.terminate()
    proxy.lists = {}
    behind.start(name="lists").terminate()
    lists = {path: answer for path, answer in proxy.lists.items() if path.partition("?")[0].endswith(stale)}
    assert len(lists) == len(stale), proxy.lists.keys()
    proxy.lists = None
    template = rolled_by_another(api, operator, namespace)

    before, pods = versions(api, namespace), {one["metadata"]["uid"] for one in api.list("Pod", namespace)}
    proxy.rule, proxy.frozen = lambda request: lists.get(request.path), stale
    proxy.requests.clear()
    behind.start(name="stale")
    wait("it wants to delete something, and looks again", lambda: asked_for(proxy, namespace))
    time.sleep(3)
    assert [one for one in proxy.requests if one[1] == "DELETE"] == []
    assert versions(api, namespace) == before
    assert {one["metadata"]["uid"] for one in api.list("Pod", namespace)} == pods
    proxy.rule, proxy.frozen = None, ()
    until_ready(api, namespace, seconds=40)
    assert template_of(api, namespace) == template


def test_b31_a_look_under_way_ends_before_the_lease_is_given_up_and_the_process(api, proxy, behind, namespace):
    """SIGTERM while the last child is on its way: it arrives, and so does the status of the look."""
    process = behind.start("--leader-elect", name="ending", lease_seconds=15)
    # What its pods said last is known: after SIGTERM they are not waited for, and a table of which nobody knows anything has its status from the next leader.
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    is_asked, held = threading.Event(), []

    def rule(request):
        is_last_child = request.method == "PATCH" and f"/{namespace}/statefulsets/" in request.path
        is_status = request.method == "PATCH" and f"/{namespace}/virtualtables/manuals/status" in request.path
        if is_last_child or is_asked.is_set() and is_status:
            is_asked.set()
            time.sleep(3 if is_last_child else 1)
            held.append(holder(api))
        return None

    proxy.rule = rule
    generation = api.patch("VirtualTable", "manuals", {"spec": {"server": {"replicas": 3}}}, namespace)["metadata"]["generation"]
    assert is_asked.wait(20), "no StatefulSet was asked for"
    process.child.send_signal(signal.SIGTERM)
    wait("it ends", lambda: process.exit_code() is not None, 20)
    assert process.exit_code() == 0
    assert holder(api) == ""
    assert len(held) == 2 and all(one.startswith("ending") for one in held), held
    assert api.get("StatefulSet", "manuals", namespace)["spec"]["replicas"] == 3
    assert api.get("VirtualTable", "manuals", namespace)["status"]["observedGeneration"] == generation


@pytest.mark.contended(reason="asserts an end before a lease of 4 s has run out")
def test_b25_a_leader_that_is_cut_off_stops_before_its_lease_runs_out(api, proxy, behind, namespace):
    process = behind.start("--leader-elect", name="cut")
    wait("it leads", lambda: holder(api).startswith("cut"), 20)
    time.sleep(1)
    proxy.partitioned = True
    began = time.monotonic()
    wait("it ends", lambda: process.exit_code() is not None, LEASE_SECONDS * 2, 0.05)
    assert time.monotonic() - began < LEASE_SECONDS
    assert process.exit_code() == 1
    proxy.partitioned = False
