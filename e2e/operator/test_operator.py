"""Checks of a healthy cluster: children, drift, references, suspend, status, events, metrics, deletion."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest
from conftest import AIM_SECONDS, LEASE_SECONDS, SOON_SECONDS, get
from control_plane import wait
from tables import CHILDREN, children, condition, holder, is_ready, led_since, local_volume, table, until, until_ready, versions

RESTRICTED = {"mode": "Restricted", "clientLabels": {"team": "data"}}


def test_b14_children_are_made_with_owner_labels_and_one_manager(api, operator, namespace, numbers):
    operator.start()
    made = api.apply("VirtualTable", table(), namespace)
    began = time.monotonic()
    until_ready(api, namespace)
    numbers.add("apply to Ready, pods at once", time.monotonic() - began, 10)
    for (kind, name), child in children(api, namespace).items():
        meta = child["metadata"]
        owner = meta["ownerReferences"][0]
        assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True), (kind, name)
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "vdt-operator"
        assert meta["labels"]["app.kubernetes.io/instance"] == "manuals"
        assert "vdt-operator" in [one["manager"] for one in meta["managedFields"]], (kind, name)
        assert "finalizers" not in meta
    found = api.get("VirtualTable", "manuals", namespace)
    assert "finalizers" not in found["metadata"]
    assert (found["status"]["artifacts"], found["status"]["version"]) == (412, 3)


def test_the_endpoint_says_how_readers_connect(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(replicas=1), namespace)
    assert until_ready(api, namespace)["status"]["endpoint"] == f"http://manuals.{namespace}.svc:8080"
    api.create("Secret", {"metadata": {"name": "cert"}, "stringData": {"tls.crt": "a", "tls.key": "b"}}, namespace)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"tls": {"mode": "Secret", "secretRef": {"name": "cert"}}}}}, namespace)
    assert until_ready(api, namespace)["status"]["endpoint"] == f"https://manuals.{namespace}.svc:8080"


def test_b14_a_single_pod_has_no_budget_and_loses_it(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"replicas": 1}}}, namespace)
    wait("the budget is gone", lambda: api.get("PodDisruptionBudget", "manuals", namespace) is None)
    until_ready(api, namespace)


def test_b15_pods_are_admitted_by_the_restricted_profile(api, plane, operator, namespace):
    operator.start()
    out = plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(table()))
    until_ready(api, namespace)
    assert "Warning" not in out
    template = api.get("StatefulSet", "manuals", namespace)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": template["spec"]}
    out = plane.kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert "arning" not in out
    assert len(api.list("Pod", namespace)) == 2


def test_b16_a_second_look_sends_no_write(api, plane, operator, namespace):
    one = operator.start()
    file = table()
    api.apply("VirtualTable", file, namespace)
    until_ready(api, namespace)
    time.sleep(3)
    before, mark = versions(api, namespace), plane.mark()
    # The same file three times, as GitOps tools send it and as kubectl does, which notes in the object what it sent.
    for _ in range(3):
        api.apply("VirtualTable", file, namespace)
        plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(file))
    # Something happens to the table, and the operator starts anew: nothing is written.
    api.patch("VirtualTable", "manuals", {"metadata": {"annotations": {"vdt.io/paused": "false"}}}, namespace)
    time.sleep(3)
    one.terminate()
    operator.start(name="two")
    time.sleep(5)
    assert versions(api, namespace) == before
    writes = [one for one in plane.requests(mark, namespace) if one[0] in ("create", "update", "patch", "delete")]
    assert writes == []


@pytest.mark.contended(reason="asserts that it is seen by a watch, within 5 s")
@pytest.mark.parametrize("kind, pattern", [*CHILDREN, ("NetworkPolicy", "{}")])
def test_b17_a_deleted_child_comes_back(api, operator, namespace, numbers, kind, pattern):
    operator.start()
    api.apply("VirtualTable", table(networkPolicy=RESTRICTED), namespace)
    until_ready(api, namespace)
    name = pattern.format("manuals")
    uid = api.get(kind, name, namespace)["metadata"]["uid"]
    api.delete(kind, name, namespace)
    began = time.monotonic()
    wait("it is back", lambda: (api.get(kind, name, namespace) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid, AIM_SECONDS)
    numbers.add("deleted child made anew", time.monotonic() - began, 5)


@pytest.mark.contended(reason="asserts that it is seen by a watch, within 5 s")
def test_b17_changed_fields_are_put_back_and_foreign_ones_stay(api, operator, namespace, numbers):
    operator.start()
    api.apply("VirtualTable", table(networkPolicy=RESTRICTED), namespace)
    until_ready(api, namespace)
    policy = api.get("NetworkPolicy", "manuals", namespace)["spec"]
    wider = policy["ingress"][0] | {"ports": [*policy["ingress"][0]["ports"], {"port": 22, "protocol": "TCP"}]}
    changes = [
        ("Service", "manuals", {"spec": {"selector": {"app.kubernetes.io/instance": "other"}}}, lambda o: o["spec"]["selector"]["app.kubernetes.io/instance"] == "manuals"),
        ("ConfigMap", "manuals-config-v1", {"data": {"tables.yaml": "x"}}, lambda o: o["data"]["tables.yaml"].startswith("---")),
        ("PodDisruptionBudget", "manuals", {"spec": {"maxUnavailable": 2}}, lambda o: o["spec"]["maxUnavailable"] == 1),
        ("NetworkPolicy", "manuals", {"spec": {"ingress": [{}]}}, lambda o: {} not in o["spec"]["ingress"]),
        ("ServiceAccount", "manuals", {"automountServiceAccountToken": True}, lambda o: o["automountServiceAccountToken"] is False),
        ("StatefulSet", "manuals", {"spec": {"replicas": 5}}, lambda o: o["spec"]["replicas"] == 2),
        ("StatefulSet", "manuals", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 20}}}}, lambda o: o["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 55),
        ("Service", "manuals", {"spec": {"selector": {"x": "y"}}}, lambda o: "x" not in o["spec"]["selector"]),
        ("Service", "manuals-peers", {"spec": {"selector": {"x": "y"}}}, lambda o: "x" not in o["spec"]["selector"]),
        ("PodDisruptionBudget", "manuals", {"spec": {"selector": {"matchLabels": {"x": "y"}}}}, lambda o: "x" not in o["spec"]["selector"]["matchLabels"]),
        ("NetworkPolicy", "manuals", {"spec": {"podSelector": {"matchLabels": {"x": "y"}}}}, lambda o: "x" not in o["spec"]["podSelector"]["matchLabels"]),
        ("NetworkPolicy", "manuals", {"spec": {"ingress": [wider, *policy["ingress"][1:]]}}, lambda o: o["spec"]["ingress"] == policy["ingress"]),
        ("Service", "manuals", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}, lambda o: o["metadata"]["labels"].get("app.kubernetes.io/managed-by") == "vdt-operator"),
    ]  # fmt: skip
    api.patch("Service", "manuals", {"metadata": {"labels": {"team": "data"}, "annotations": {"note": "theirs"}}}, namespace)
    for kind, name, patch, holds in changes:
        api.patch(kind, name, patch, namespace)
        began = time.monotonic()
        wait(f"{kind} {name} is put back", lambda: holds(api.get(kind, name, namespace)), AIM_SECONDS)
        numbers.add("drift repaired", time.monotonic() - began, 5)
    service = api.get("Service", "manuals", namespace)
    assert (service["metadata"]["labels"]["team"], service["metadata"]["annotations"]["note"]) == ("data", "theirs")


@pytest.mark.contended(reason="asserts that it is seen by a watch, within 5 s")
def test_b17_drift_is_repaired_beside_tables_whose_pods_do_not_answer(api, pods, operator, namespace, numbers):
    silent = [f"silent{n}" for n in range(40)]
    pods.silent = {f"{namespace}/{name}" for name in silent}
    operator.start()
    for name in silent:
        api.apply("VirtualTable", table(name, replicas=1), namespace)
    api.apply("VirtualTable", table(replicas=1), namespace)
    until_ready(api, namespace, seconds=60)
    for name in silent:
        until(api, namespace, "Ready", "Unknown", "NotReported", name, seconds=60)
    for _ in range(3):
        uid = api.get("Service", "manuals", namespace)["metadata"]["uid"]
        api.delete("Service", "manuals", namespace)
        began = time.monotonic()
        wait("it is back", lambda: (api.get("Service", "manuals", namespace) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid, AIM_SECONDS)  # noqa: B023
        numbers.add("deleted child made anew beside 40 silent tables", time.monotonic() - began, 5)


def test_b17_replicas_of_an_autoscaler_survive_a_file_without_them(api, plane, operator, namespace):
    operator.start()
    file = table()
    del file["spec"]["server"]["replicas"]
    api.apply("VirtualTable", file, namespace)
    until_ready(api, namespace)
    plane.kubectl("-n", namespace, "scale", "vt/manuals", "--replicas=3")
    wait("three pods", lambda: api.get("StatefulSet", "manuals", namespace)["spec"]["replicas"] == 3, SOON_SECONDS)
    api.apply("VirtualTable", file, namespace)
    time.sleep(2)
    assert api.get("StatefulSet", "manuals", namespace)["spec"]["replicas"] == 3
    scale = api.call("GET", api.path("VirtualTable", namespace, "manuals", "/scale"))
    assert "app.kubernetes.io/instance=manuals" in scale["status"]["selector"]


def test_b18_a_deleted_table_takes_its_children_along_but_not_its_state(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(state={"type": "Claim", "claim": {}}, replicas=1), namespace)
    until_ready(api, namespace)
    assert "ownerReferences" not in api.get("PersistentVolumeClaim", "manuals-state", namespace)["metadata"]
    api.delete("VirtualTable", "manuals", namespace)
    wait("all are gone", lambda: not any(children(api, namespace).values()), 30)
    assert api.get("PersistentVolumeClaim", "manuals-state", namespace)


def test_b18_what_an_orphaning_delete_leaves_is_taken_over(api, operator, namespace):
    """`kubectl delete --cascade=orphan`, and the same table again: the pods are those that were."""
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.delete("VirtualTable", "manuals", namespace, {"propagationPolicy": "Orphan"})
    wait("it is gone", lambda: api.get("VirtualTable", "manuals", namespace) is None, 30)
    left = children(api, namespace)
    assert all(child and not child["metadata"].get("ownerReferences") for child in left.values()), left
    made = api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    owners = {child["metadata"]["ownerReferences"][0]["uid"] for child in children(api, namespace).values()}
    assert owners == {made["metadata"]["uid"]}
    assert {p["metadata"]["uid"] for p in api.list("Pod", namespace)} == uids


def test_b18_a_namespace_goes_while_the_operator_is_away(api, operator, namespace):
    one = operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    one.terminate()
    api.delete("Namespace", namespace, None)
    wait("the namespace is gone", lambda: api.get("Namespace", namespace, None) is None, 60)


def test_b19_a_missing_secret_is_named_and_its_arrival_seen(api, operator, namespace, numbers):
    operator.start()
    api.apply("VirtualTable", table(credentials="corp-ro"), namespace)
    sources = until(api, namespace, "SourcesReady", "False", "SecretNotFound", seconds=SOON_SECONDS)
    assert "corp-ro" in sources["message"]
    api.create("Secret", {"metadata": {"name": "corp-ro"}, "stringData": {"accessKeyId": "a", "secretAccessKey": "hunter2"}}, namespace)
    began = time.monotonic()
    until_ready(api, namespace, seconds=SOON_SECONDS)
    numbers.add("secret seen", time.monotonic() - began, 5)


@pytest.mark.contended(reason="asserts that it is seen by a watch, within 5 s")
def test_b19_a_missing_config_map_is_named_and_its_arrival_seen(api, operator, namespace, numbers):
    """Here the authority that a bucket is trusted by."""
    operator.start()
    wanted = table()
    wanted["spec"]["sources"][0]["s3"]["caBundle"] = {"name": "corp-ca", "key": "ca.crt"}
    api.apply("VirtualTable", wanted, namespace)
    sources = until(api, namespace, "SourcesReady", "False", "ConfigMapNotFound", seconds=AIM_SECONDS)
    assert "ConfigMap corp-ca" in sources["message"]
    api.create("ConfigMap", {"metadata": {"name": "corp-ca"}, "data": {"ca.crt": "-----BEGIN CERTIFICATE-----"}}, namespace)
    began = time.monotonic()
    until_ready(api, namespace, seconds=SOON_SECONDS)
    numbers.add("config map seen", time.monotonic() - began, 5)
    assert "corp-ca" in json.dumps(api.get("StatefulSet", "manuals", namespace)["spec"]["template"]["spec"]["volumes"])


@pytest.mark.parametrize("watch", [True, False])
def test_b19_a_rotated_secret_touches_the_pods_and_leaks_nowhere(api, plane, operator, namespace, watch):
    began = time.time()
    process = operator.start(*(["--secrets-watch"] if watch else []))
    api.create("Secret", {"metadata": {"name": "corp-ro"}, "stringData": {"accessKeyId": "a", "secretAccessKey": "hunter2-old"}}, namespace)
    api.apply("VirtualTable", table(credentials="corp-ro"), namespace)
    until_ready(api, namespace)
    reload = lambda: {p["metadata"]["name"]: p["metadata"]["annotations"].get("vdt.io/reload") for p in api.list("Pod", namespace)}  # noqa: E731
    wait("pods have heard", lambda: all(reload().values()))
    before, uids = reload(), {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.patch("Secret", "corp-ro", {"stringData": {"secretAccessKey": "hunter2-new"}}, namespace)
    if not watch:
        # Without a watch the kubelet brings it within a minute; the operator sees it at a change of the spec, or within ten minutes.
        api.patch("VirtualTable", "manuals", {"spec": {"server": {"disruption": {"maxUnavailable": 2}}}}, namespace)
    wait("the pods are touched", lambda: all(reload()[name] != before[name] for name in before), SOON_SECONDS)
    assert {p["metadata"]["uid"] for p in api.list("Pod", namespace)} == uids
    everything = process.output() + json.dumps([api.get("VirtualTable", "manuals", namespace), api.list("Pod", namespace), api.list("Event", namespace), list(children(api, namespace).values())])
    assert "hunter2" not in everything
    # Those that a table names are asked for by their names.
    assert plane.verbs("secrets", began) - {"create"} == ({"get", "list", "watch"} if watch else {"get"})


@pytest.mark.parametrize("how", ["suspend", "paused"])
def test_b20_suspend_holds_writes_and_keeps_status(api, plane, pods, operator, namespace, how):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    hold = {"spec": {"suspend": True}} if how == "suspend" else {"metadata": {"annotations": {"vdt.io/paused": "true"}}}
    api.patch("VirtualTable", "manuals", hold, namespace)
    until(api, namespace, "Ready", "True", "Suspended" if how == "suspend" else "Paused")
    if how == "suspend":
        # The pods are told to stop refreshing: the one thing that is written.
        wait("pods are told", lambda: "suspend: true" in api.get("ConfigMap", "manuals-config-v1", namespace)["data"]["tables.yaml"], SOON_SECONDS)
    before = versions(api, namespace)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"rollout": {"drainSeconds": 7}, "replicas": 3}}}, namespace)
    api.delete("PodDisruptionBudget", "manuals", namespace)
    audience = f"{namespace}/manuals"
    pods.reports[audience] = pods.healthy(audience, Ready={"status": "False", "reason": "StateUnavailable"})
    until(api, namespace, "Ready", "False", "StateUnavailable", seconds=30)
    before["PodDisruptionBudget", "manuals"] = None
    assert versions(api, namespace) == before
    # A spec that says of itself that it waits is observed; one that nobody acted upon is not.
    found = api.get("VirtualTable", "manuals", namespace)
    assert found["metadata"]["generation"] - found["status"]["observedGeneration"] == (0 if how == "suspend" else 1)
    pods.reports.clear()
    api.patch("VirtualTable", "manuals", {"spec": {"suspend": False}, "metadata": {"annotations": {"vdt.io/paused": None}}}, namespace)
    wait("it converges", lambda: is_ready(api, namespace) and api.get("StatefulSet", "manuals", namespace)["spec"]["replicas"] == 3, 40)
    assert api.get("PodDisruptionBudget", "manuals", namespace)
    assert "suspend: false" in api.get("ConfigMap", "manuals-config-v1", namespace)["data"]["tables.yaml"]


def test_b21_the_generation_follows_an_edit_when_it_was_acted_upon(api, operator, namespace):
    """Whoever sees the generation of an edit sees what came of it, in the same moment."""
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    for pods in (2, 3, 4):
        generation = api.patch("VirtualTable", "manuals", {"spec": {"server": {"disruption": {"maxUnavailable": pods}}}}, namespace)["metadata"]["generation"]

        def look(generation=generation, pods=pods):
            found = api.get("VirtualTable", "manuals", namespace)
            if found["status"]["observedGeneration"] != generation:
                assert found["status"]["observedGeneration"] == generation - 1
                return None
            # Asked after the status: what it says has happened, has.
            assert api.get("PodDisruptionBudget", "manuals", namespace)["spec"]["maxUnavailable"] == pods
            return found

        found = wait(f"generation {generation} is observed", look, SOON_SECONDS, 0.02)
        assert {one["type"]: one["observedGeneration"] for one in found["status"]["conditions"]} == {one["type"]: generation for one in found["status"]["conditions"]}
    assert generation == 4


def test_b21_times_of_conditions_move_with_their_status_only(api, operator, pods, namespace):
    audience = f"{namespace}/manuals"
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    times = lambda: {one["type"]: one["lastTransitionTime"] for one in api.get("VirtualTable", "manuals", namespace)["status"]["conditions"]}  # noqa: E731
    until_ready(api, namespace)
    first = times()
    time.sleep(1.1)  # times are told in seconds

    # Another reason and message, a new generation: the status is what it was.
    pods.reports[audience] = pods.healthy(audience, SourcesReady={"reason": "Listing", "message": "again"})
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"disruption": {"maxUnavailable": 2}}}}, namespace)
    until(api, namespace, "SourcesReady", "True", "Listing", seconds=30)
    until_ready(api, namespace)
    assert times() == first

    pods.reports[audience] = pods.healthy(audience, Ready={"status": "False", "reason": "StateUnavailable"})
    until(api, namespace, "Ready", "False", "StateUnavailable", seconds=30)
    second = times()
    assert second["Ready"] > first["Ready"]
    assert {kind: at for kind, at in second.items() if kind in ("SourcesReady", "SchemaAccepted", "CacheReady")} == {
        kind: at for kind, at in first.items() if kind in ("SourcesReady", "SchemaAccepted", "CacheReady")
    }
    time.sleep(1.1)
    pods.reports[audience] = pods.healthy(audience, Ready={"status": "False", "reason": "StateLocked"})
    until(api, namespace, "Ready", "False", "StateLocked", seconds=30)
    assert times()["Ready"] == second["Ready"]
    pods.reports.clear()
    until_ready(api, namespace)
    assert times()["Ready"] > second["Ready"]


@pytest.mark.contended(reason="asserts a hand-over within 1 s and a takeover within a lease of 4 s")
def test_b25_one_of_two_leads_and_hands_over(api, plane, operator, namespace, numbers):
    # Two would wait for that lease for a minute: it leads because it is handed over.
    one = operator.start("--leader-elect", name="one", lease_seconds=60)
    wait("one leads", lambda: holder(api).startswith("one"), 20)
    two = operator.start("--leader-elect", name="two")
    time.sleep(LEASE_SECONDS)
    assert holder(api).startswith("one")
    began = time.time()
    one.child.send_signal(signal.SIGTERM)
    wait("it gives the lease up", lambda: not holder(api).startswith("one"), 1, 0.02)
    wait("two leads", lambda: holder(api).startswith("two"), SOON_SECONDS, 0.02)
    numbers.add("takeover after SIGTERM of the leader", led_since(api) - began, 1)
    assert one.terminate() == 0
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    three = operator.start("--leader-elect", name="three")
    began = time.time()
    two.kill()
    wait("three leads", lambda: holder(api).startswith("three"), LEASE_SECONDS * 3, 0.02)
    # By the clock of the one that took over, and a renewal's time beside it: what was written last may have been seen late.
    took = led_since(api) - began
    numbers.add(f"takeover after SIGKILL, lease of {LEASE_SECONDS} s", took, LEASE_SECONDS, most=LEASE_SECONDS * 1.2)
    # The lease is written first.
    leads = 'leader_election_master_status{name="vdt-operator-leader"} 1'
    wait("its metric says so", lambda: leads in get(f"http://127.0.0.1:{three.metrics_port}/metrics"), SOON_SECONDS)


def test_b31_metrics_and_readiness(api, operator, namespace):
    process = operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    text = operator.metrics()
    names = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert {
        "controller_runtime_reconcile", "controller_runtime_reconcile_errors", "controller_runtime_terminal_reconcile_errors",
        "controller_runtime_reconcile_panics", "controller_runtime_reconcile_time_seconds", "controller_runtime_max_concurrent_reconciles",
        "controller_runtime_active_workers", "workqueue_adds", "workqueue_retries", "workqueue_depth", "workqueue_queue_duration_seconds",
        "workqueue_work_duration_seconds", "workqueue_unfinished_work_seconds", "workqueue_longest_running_processor_seconds", "rest_client_requests", "leader_election_master_status",
        "vdt_virtualtable_condition",
    } <= names  # fmt: skip
    assert f'vdt_virtualtable_condition{{namespace="{namespace}",name="manuals",type="Ready",status="True"}} 1.0' in text
    assert re.search(r'rest_client_requests_total\{code="200",method="PATCH",host="127.0.0.1:\d+"\}', text)
    api.delete("VirtualTable", "manuals", namespace)
    wait("it is forgotten", lambda: f'namespace="{namespace}"' not in operator.metrics(), 10)
    assert process.terminate() == 0


def test_b32_events_tell_of_transitions_only_and_numbers_seldom(api, pods, operator, namespace):
    audience = f"{namespace}/manuals"
    operator.start()
    applied = time.monotonic()
    api.apply("VirtualTable", table(credentials="corp-ro"), namespace)
    until(api, namespace, "SourcesReady", "False", "SecretNotFound")
    api.create("Secret", {"metadata": {"name": "corp-ro"}, "stringData": {"accessKeyId": "a", "secretAccessKey": "b"}}, namespace)
    until_ready(api, namespace)
    ours = lambda: [one for one in api.list("Event", namespace) if one.get("regarding", {}).get("kind") == "VirtualTable"]  # noqa: E731
    time.sleep(2)
    before = ours()
    reasons = [one["reason"] for one in before]
    assert "SecretNotFound" in reasons and "Serving" in reasons
    assert len(reasons) == len(set(reasons)), reasons
    # What is told again is not another event, but counted in the one before.
    repeated = lambda: [one["reason"] for one in ours() if one.get("series")]  # noqa: E731
    assert not repeated()
    assert {one["reason"]: one["type"] for one in before}["SecretNotFound"] == "Warning"
    # The pods tell another number whenever they are asked, and something happens to the table every half second. Twice a minute is often enough.
    asked = len(pods.asked)

    def numbers() -> tuple[int, int]:
        [report] = pods.healthy(audience)
        version = report["version"] + len(pods.asked)
        pods.reports[audience] = [report | {"version": version, "artifacts": 1000 + version}]
        api.patch("Service", "manuals", {"metadata": {"labels": {"moment": str(len(pods.asked))}}}, namespace)
        status = api.get("VirtualTable", "manuals", namespace)["status"]
        return status["version"], status["artifacts"]

    first = numbers()
    second = wait("other numbers are told", lambda: (found := numbers()) != first and found, 60, 0.5)
    assert time.monotonic() - applied >= 30, (first, second)
    assert len(pods.asked) - asked > 10
    assert len(ours()) == len(before)
    assert not repeated()


HELD = {"metadata": {"finalizers": ["test.vdt.io/held"]}}


def test_a_child_that_does_not_go_holds_up_no_other(api, operator, namespace):
    """As a Service whose load balancer the cloud does not give back."""
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    generation = api.get("VirtualTable", "manuals", namespace)["metadata"]["generation"]
    pods = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.patch("Service", "manuals", HELD, namespace)
    api.delete("Service", "manuals", namespace)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"networkPolicy": RESTRICTED, "rollout": {"drainSeconds": 9}}}}, namespace)
    wait("the policy is there", lambda: api.get("NetworkPolicy", "manuals", namespace), SOON_SECONDS)
    wait("pods are new", lambda: not pods & {p["metadata"]["uid"] for p in api.list("Pod", namespace)}, 60)
    reconciling = until(api, namespace, "Reconciling", "True", "Terminating")
    assert reconciling["message"] == "Service manuals is being deleted"
    found = api.get("VirtualTable", "manuals", namespace)
    assert (condition(found, "Ready")["status"], found["status"]["observedGeneration"]) == ("False", generation)
    api.patch("Service", "manuals", {"metadata": {"finalizers": None}}, namespace)
    until_ready(api, namespace)
    assert api.get("Service", "manuals", namespace)["metadata"].get("deletionTimestamp") is None


@pytest.mark.parametrize("kind", ["Service", "StatefulSet"])
def test_a_table_that_is_made_anew_is_not_ready_by_what_the_one_before_left(api, operator, namespace, kind):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    before = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.patch(kind, "manuals", HELD, namespace)
    # Pods go after their set, so those of a set that is held run on.
    api.delete("VirtualTable", "manuals", namespace)
    wait("it goes", lambda: api.get(kind, "manuals", namespace)["metadata"].get("deletionTimestamp"), 30)
    made = api.apply("VirtualTable", table(), namespace)["metadata"]["uid"]
    for _ in range(40):
        found = api.get("VirtualTable", "manuals", namespace)
        assert condition(found, "Ready").get("status") != "True", found["status"]
        time.sleep(0.1)
    until(api, namespace, "Reconciling", "True", "Terminating")
    api.patch(kind, "manuals", {"metadata": {"finalizers": None}}, namespace)
    until_ready(api, namespace, seconds=60)
    assert {child["metadata"]["ownerReferences"][0]["uid"] for child in children(api, namespace).values()} == {made}
    assert not before & {p["metadata"]["uid"] for p in api.list("Pod", namespace)}


@pytest.mark.parametrize(
    ("affinity", "says"),
    [
        ({"nodeAffinity": {"bogus": 1}}, "bogus"),
        ({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 101, "preference": {"matchFields": []}}]}}, "weight"),
    ],
)
def test_what_the_api_server_never_takes_stalls_and_names_the_field(api, operator, namespace, affinity, says):
    operator.start()
    api.apply("VirtualTable", table(podTemplate={"affinity": affinity}), namespace)
    stalled = until(api, namespace, "Stalled", "True", "InvalidSpec")
    assert "StatefulSet manuals" in stalled["message"] and says in stalled["message"], stalled
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)


def test_names_that_are_taken_stall_and_are_left_alone(api, operator, namespace):
    operator.start()
    theirs = {"metadata": {"name": "manuals"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}}}
    api.create("Service", theirs, namespace)
    api.apply("VirtualTable", table(), namespace)
    until(api, namespace, "Stalled", "True", "NameTaken")
    assert api.get("Service", "manuals", namespace)["spec"]["selector"] == {"app": "theirs"}
    api.delete("Service", "manuals", namespace)
    api.patch("VirtualTable", "manuals", {"metadata": {"annotations": {"vdt.io/paused": "false"}}}, namespace)
    until_ready(api, namespace, seconds=40)


def test_a_roll_takes_one_pod_at_a_time(api, pods, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(replicas=3), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    pods.least_ready[f"{namespace}/manuals"] = 3
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"rollout": {"drainSeconds": 9}}}}, namespace)
    until(api, namespace, "Reconciling", "True", "RollingOut", seconds=SOON_SECONDS)
    until_ready(api, namespace, seconds=60)
    assert not uids & {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    assert pods.least_ready[f"{namespace}/manuals"] >= 2
    assert api.get("VirtualTable", "manuals", namespace)["status"]["updatedReplicas"] == 3


def test_a_roll_stops_at_the_first_pod_that_does_not_come_back(api, pods, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(replicas=3), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"podTemplate": {"annotations": {"test/unplayed": "yes"}}}}}, namespace)
    until(api, namespace, "Reconciling", "True", "RollingOut", seconds=SOON_SECONDS)
    time.sleep(8)
    assert len(uids & {p["metadata"]["uid"] for p in api.list("Pod", namespace)}) == 2
    # Putting it right goes on with the broken one first.
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"podTemplate": {"annotations": {"test/unplayed": None, "test/fixed": "yes"}}}}}, namespace)
    until_ready(api, namespace, seconds=60)


def test_dropping_warm_caches_is_refused_and_names_the_field(api, operator, namespace):
    operator.start()
    claim = {"disk": {"capacity": "1Gi", "volume": {"type": "PersistentVolumeClaim"}}}
    api.apply("VirtualTable", table(cache=claim), namespace)
    until_ready(api, namespace)
    before = versions(api, namespace)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"cache": {"disk": {"volume": {"type": "EmptyDir"}}}}}}, namespace)
    stalled = until(api, namespace, "Stalled", "True", "WouldDropCache")
    assert "spec.server.cache.disk.volume.type" in stalled["message"]
    assert versions(api, namespace) == before
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"rollout": {"cachePolicy": "Discard"}}}}, namespace)
    until_ready(api, namespace, seconds=60)
    wait("claims are gone", lambda: not api.list("PersistentVolumeClaim", namespace), 30)


def test_caches_become_claims_one_pod_after_the_other(api, pods, operator, namespace):
    """A StatefulSet makes no pod above one that lacks its claim."""
    operator.start()
    api.apply("VirtualTable", table(replicas=3), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.delete("Pod", "manuals-2", namespace)  # as a drain does it, in the worst moment
    claim = {"disk": {"capacity": "1Gi", "volume": {"type": "PersistentVolumeClaim"}}}
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"cache": claim}}}, namespace)
    until(api, namespace, "Reconciling", "True", "RollingOut", seconds=SOON_SECONDS)
    until_ready(api, namespace, seconds=90)
    assert not uids & {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    assert {c["metadata"]["name"] for c in api.list("PersistentVolumeClaim", namespace)} == {f"cache-manuals-{n}" for n in range(3)}


@pytest.mark.parametrize("key", ["kubernetes.io/hostname", "topology.topolvm.io/node"])
def test_c36_a_cache_of_a_deleted_node_is_given_up_and_of_no_other(api, operator, namespace, key):
    host = f"node-{namespace}"
    node = {"metadata": {"name": host, "labels": {"kubernetes.io/hostname": host, key: host}}}
    api.create("Node", node, None)
    operator.start()
    for ordinal in (0, 1):
        api.create("PersistentVolume", local_volume(namespace, host if ordinal == 0 else "node-unknown", ordinal, key), None)
    volume = {"type": "PersistentVolumeClaim", "storageClassName": "local-test", "nodeLossGraceSeconds": 5}
    api.apply("VirtualTable", table(cache={"disk": {"capacity": "1Gi", "volume": volume}}), namespace)
    until_ready(api, namespace)
    claims = lambda: {c["metadata"]["name"]: c["metadata"]["uid"] for c in api.list("PersistentVolumeClaim", namespace)}  # noqa: E731
    wait("claims are bound", lambda: all(c["spec"].get("volumeName") for c in api.list("PersistentVolumeClaim", namespace)), 20)
    before = claims()
    for ordinal in (0, 1):  # nobody takes the pods, for a reason that may pass
        api.patch("Pod", f"manuals-{ordinal}", {"metadata": {"annotations": {"test/unplayed": "yes"}}}, namespace)
        conditions = [{"type": kind, "status": "False", "reason": "Unschedulable"} for kind in ("PodScheduled", "Ready")]
        api.patch("Pod", f"manuals-{ordinal}", {"status": {"phase": "Pending", "conditions": conditions}}, namespace, "/status")
    until(api, namespace, "Reconciling", "True", "Unschedulable")
    time.sleep(8)
    assert claims() == before
    marks = lambda: [c["metadata"].get("annotations", {}).get("vdt.io/node-lost-at") for c in api.list("PersistentVolumeClaim", namespace)]  # noqa: E731
    api.delete("Node", host, None)
    wait("the claim is marked", lambda: any(marks()), 10)
    api.create("Node", node, None)  # it comes back within the grace
    wait("the mark is gone", lambda: not any(marks()), 15)
    time.sleep(6)
    assert claims() == before
    api.delete("Node", host, None)
    began = time.monotonic()
    wait("the claim is made anew", lambda: claims().get("cache-manuals-0", before["cache-manuals-0"]) != before["cache-manuals-0"], 40)
    assert time.monotonic() - began >= 3
    # Nobody saw the other node, so nobody saw it go.
    assert claims()["cache-manuals-1"] == before["cache-manuals-1"]
    assert "NodeLost" in [one["reason"] for one in api.list("Event", namespace)]
    for ordinal in (0, 1):
        api.delete("PersistentVolume", f"{namespace}-{ordinal}", None)


def test_c38_cpu_and_memory_change_in_place(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"resources": {"server": {"limits": {"memory": "2048Mi"}, "requests": {"cpu": "0.2", "memory": "300Mi"}}}}}}, namespace)

    def resized():
        found = [p["spec"]["initContainers"][0]["resources"] for p in api.list("Pod", namespace)]
        return all(one == {"limits": {"memory": "2Gi"}, "requests": {"cpu": "200m", "memory": "300Mi"}} for one in found)

    wait("resources are as wanted", resized, 10)
    until_ready(api, namespace)
    assert {p["metadata"]["uid"] for p in api.list("Pod", namespace)} == uids
    template = api.get("StatefulSet", "manuals", namespace)["spec"]["template"]["spec"]["initContainers"][0]
    assert template["resources"]["requests"]["cpu"] in ("200m", "0.2")


def test_c38_what_an_autoscaler_gives_a_pod_stays(api, operator, namespace):
    """Also with another operator. What is wanted anew is asked for once."""
    one = operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    for pod in ("manuals-0", "manuals-1"):
        api.resize(pod, {"initContainers": [{"name": "server", "resources": {"requests": {"cpu": "321m"}}}]}, namespace)
    cpu = lambda: {p["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] for p in api.list("Pod", namespace)}  # noqa: E731
    time.sleep(5)
    one.terminate()
    operator.start(name="two")
    time.sleep(5)
    assert cpu() == {"321m"}
    assert {p["metadata"]["uid"] for p in api.list("Pod", namespace)} == uids
    assert condition(api.get("VirtualTable", "manuals", namespace), "Ready")["status"] == "True"
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"resources": {"server": {"requests": {"cpu": "123m"}}}}}}, namespace)
    wait("it is asked for", lambda: cpu() == {"123m"}, SOON_SECONDS)
    until_ready(api, namespace)
    assert {p["metadata"]["uid"] for p in api.list("Pod", namespace)} == uids


def test_c38_a_refused_resize_takes_one_pod_at_a_time(api, pods, operator, namespace):
    """Requests that equal limits are another class of service, which no pod can change to."""
    operator.start()
    api.apply("VirtualTable", table(replicas=3), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    pods.least_ready[f"{namespace}/manuals"] = 3
    same = {"limits": {"cpu": "0.25", "memory": "1.5G"}, "requests": {"cpu": "0.25", "memory": "1.5G"}}
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"resources": {"server": same, "sidecar": same}}}}, namespace)
    wait("pods are new", lambda: not uids & {p["metadata"]["uid"] for p in api.list("Pod", namespace)}, 60)
    until_ready(api, namespace, seconds=30)
    assert pods.least_ready[f"{namespace}/manuals"] >= 2
    assert {p["status"]["qosClass"] for p in api.list("Pod", namespace)} == {"Guaranteed"}


def test_a_state_claim_that_was_made_larger_holds_nothing_up(api, operator, namespace):
    state = {"type": "Claim", "claim": {"capacity": "1Gi"}}
    claim = {"metadata": {"name": "manuals-state", "labels": {"app.kubernetes.io/instance": "manuals", "app.kubernetes.io/managed-by": "vdt-operator"}},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "theirs", "resources": {"requests": {"storage": "20Gi"}}}}  # fmt: skip
    api.create("PersistentVolumeClaim", claim, namespace)
    operator.start()
    api.apply("VirtualTable", table(replicas=1, state=state), namespace)
    until_ready(api, namespace)
    assert api.get("PersistentVolumeClaim", "manuals-state", namespace)["spec"]["resources"]["requests"]["storage"] == "20Gi"


def following(pods, namespace: str, at: int, **refused) -> None:
    """The pods say which generation of their manifest they follow."""
    audience = f"{namespace}/manuals"
    [report] = pods.healthy(audience)
    manifest = {"generation": at} | ({"refused": refused} if refused else {})
    pods.reports[audience] = [report | {"manifest": manifest}]


def test_a_changed_source_is_followed_in_place(api, operator, pods, namespace):
    """The ConfigMap changes, the pods are touched and go on, and the new generation is observed when they say that they follow it."""
    following(pods, namespace, 1)
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    first = until_ready(api, namespace)["metadata"]["generation"]
    reload = lambda: {p["metadata"]["name"]: p["metadata"]["annotations"].get("vdt.io/reload") for p in api.list("Pod", namespace)}  # noqa: E731
    wait("pods have heard", lambda: all(reload().values()))
    uids, before = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}, reload()
    generation = api.apply("VirtualTable", table(spec={"refresh": {"intervalSeconds": 5}}), namespace)["metadata"]["generation"]
    assert generation > first
    wait("the pods are touched", lambda: all(reload()[name] != before[name] for name in before), SOON_SECONDS)
    text = api.get("ConfigMap", "manuals-config-v1", namespace)["data"]["tables.yaml"]
    assert "intervalSeconds: 5" in text and f"generation: {generation}" in text
    until(api, namespace, "Reconciling", "True", "Following", seconds=SOON_SECONDS)
    found = api.get("VirtualTable", "manuals", namespace)
    assert found["status"]["observedGeneration"] == first
    assert condition(found, "Ready")["status"] == "True", "what was served is served"
    following(pods, namespace, generation)
    until_ready(api, namespace, seconds=SOON_SECONDS)
    assert api.get("VirtualTable", "manuals", namespace)["status"]["observedGeneration"] == generation
    assert {p["metadata"]["uid"] for p in api.list("Pod", namespace)} == uids


def test_a_manifest_that_pods_refuse_stalls(api, operator, pods, namespace):
    following(pods, namespace, 1)
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    first = until_ready(api, namespace)["metadata"]["generation"]
    generation = api.apply("VirtualTable", table(spec={"refresh": {"intervalSeconds": 5}}), namespace)["metadata"]["generation"]
    message = "spec.refresh.intervalSeconds: is 5; write at least 6"
    following(pods, namespace, first, generation=generation, reason="InvalidSpec", message=message)
    until(api, namespace, "Stalled", "True", "InvalidSpec", seconds=10)
    found = api.get("VirtualTable", "manuals", namespace)
    assert condition(found, "SchemaAccepted")["message"] == condition(found, "Ready")["message"] == message
    generation = api.apply("VirtualTable", table(spec={"refresh": {"intervalSeconds": 6}}), namespace)["metadata"]["generation"]
    following(pods, namespace, generation)
    until_ready(api, namespace, seconds=10)


def test_a_pod_that_says_it_has_to_be_started_anew_is_replaced(api, operator, pods, namespace):
    """As one of another build may say of a change that this operator rolls nothing for."""
    following(pods, namespace, 1)
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    first = until_ready(api, namespace)["metadata"]["generation"]
    uids = lambda: {p["metadata"]["uid"] for p in api.list("Pod", namespace)}  # noqa: E731
    before = uids()
    generation = api.apply("VirtualTable", table(spec={"refresh": {"intervalSeconds": 5}}), namespace)["metadata"]["generation"]
    following(pods, namespace, first, generation=generation, reason="RestartNeeded", message="spec.server.cache: is fixed while the process runs")
    wait("one is replaced", lambda: before - uids(), 20)
    following(pods, namespace, generation)
    until_ready(api, namespace, seconds=30)
    assert api.get("VirtualTable", "manuals", namespace)["status"]["observedGeneration"] == generation


def test_what_only_a_new_process_takes_is_a_roll(api, operator, pods, namespace):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    uids = {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"cache": {"memory": {"capacity": "2Gi"}}}}}, namespace)
    until_ready(api, namespace, seconds=60)
    assert not uids & {p["metadata"]["uid"] for p in api.list("Pod", namespace)}
