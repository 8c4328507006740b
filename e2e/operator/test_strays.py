"""Pods that are not made, pods that are somebody's copy, and caches that nobody wants any more."""

from __future__ import annotations

from conftest import SOON_SECONDS
from control_plane import wait
from tables import condition, table, until, until_ready

CACHE = {"disk": {"capacity": "1Gi", "volume": {"type": "PersistentVolumeClaim"}}}


def claims(api, namespace: str) -> dict[str, dict]:
    return {one["metadata"]["name"]: one["metadata"] for one in api.list("PersistentVolumeClaim", namespace)}


def scale(api, namespace: str, replicas: int) -> None:
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"replicas": replicas}}}, namespace)


def test_a_pod_that_is_not_made_says_where_to_read_why(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(replicas=1, podTemplate={"priorityClassName": "no-such-class"}), namespace)
    until(api, namespace, "Reconciling", "True", "PodsNotReady")
    said = lambda: condition(api.get("VirtualTable", "manuals", namespace), "Ready").get("message", "")  # noqa: E731
    wait("it says so", lambda: "pod manuals-0 is not there: kubectl describe statefulset manuals says why" in said(), 40)
    events = [one["note"] for one in api.list("Event", namespace) if one.get("regarding", {}).get("kind") == "StatefulSet"]
    assert any("no-such-class" in note for note in events), events
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"podTemplate": None}}}, namespace)
    until_ready(api, namespace, seconds=60)


def test_more_memory_asked_for_than_the_limit_that_nobody_wrote(api, operator, namespace):
    operator.start()
    much = {"requests": {"memory": "2Gi"}}
    api.apply("VirtualTable", table(resources={"server": much, "sidecar": much}), namespace)
    until_ready(api, namespace)


def test_a_copy_of_a_pod_is_left_alone_in_a_roll(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    pod = api.get("Pod", "manuals-0", namespace)
    labels = {name: value for name, value in pod["metadata"]["labels"].items() if not name.startswith(("apps.kubernetes.io", "statefulset.kubernetes.io"))}
    spec = {name: value for name, value in pod["spec"].items() if name not in ("nodeName", "hostname", "subdomain")}
    api.create("Pod", {"metadata": {"name": "manuals-copy-0", "labels": labels}, "spec": spec}, namespace)
    copy = api.get("Pod", "manuals-copy-0", namespace)["metadata"]["uid"]
    uids = {one["metadata"]["uid"] for one in api.list("Pod", namespace)}
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"rollout": {"drainSeconds": 9}}}}, namespace)
    until(api, namespace, "Reconciling", "True", "RollingOut", seconds=SOON_SECONDS)
    until_ready(api, namespace, seconds=60)
    assert uids & {one["metadata"]["uid"] for one in api.list("Pod", namespace)} == {copy}
    status = api.get("VirtualTable", "manuals", namespace)["status"]
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 2)


def test_caches_beyond_the_pods_that_a_table_wakes_up_with_go(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(replicas=3, cache=CACHE), namespace)
    until_ready(api, namespace)
    before = claims(api, namespace)
    assert len(before) == 3
    scale(api, namespace, 0)
    wait("it sleeps", lambda: not api.list("Pod", namespace), 30)
    until_ready(api, namespace)
    assert claims(api, namespace).keys() == before.keys()
    scale(api, namespace, 2)
    until_ready(api, namespace)
    wait("the third is gone", lambda: claims(api, namespace).keys() == {"cache-manuals-0", "cache-manuals-1"}, 30)
    assert all(claims(api, namespace)[name]["uid"] == before[name]["uid"] for name in claims(api, namespace))


def test_a_cache_that_grows_while_its_table_sleeps_goes_with_it(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(replicas=2, cache=CACHE), namespace)
    until_ready(api, namespace)
    scale(api, namespace, 0)
    wait("it sleeps", lambda: not api.list("Pod", namespace), 30)
    before = claims(api, namespace)
    uid = api.get("StatefulSet", "manuals", namespace)["metadata"]["uid"]
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"cache": {"disk": {"capacity": "2Gi"}}}}}, namespace)
    wait("the set is made anew", lambda: (api.get("StatefulSet", "manuals", namespace) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid, 30)

    def owners():
        return {tuple(owner["kind"] for owner in one.get("ownerReferences", [])) for one in claims(api, namespace).values()}

    wait("the table owns its caches", lambda: owners() == {("VirtualTable",)}, 40)
    # Awake, the set owns them too.
    scale(api, namespace, 1)
    until_ready(api, namespace)
    wait("one is left", lambda: claims(api, namespace).keys() == {"cache-manuals-0"}, 30)
    assert claims(api, namespace)["cache-manuals-0"]["uid"] == before["cache-manuals-0"]["uid"]
    scale(api, namespace, 0)
    wait("it sleeps again", lambda: not api.list("Pod", namespace), 30)
    api.delete("VirtualTable", "manuals", namespace)
    wait("nothing is left", lambda: not claims(api, namespace), 40)
