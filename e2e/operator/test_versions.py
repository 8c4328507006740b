"""Check B28: operators of other versions before and after this one. A newer one is played: nobody knows what it will write, only that this one must not harm it."""

from __future__ import annotations

import json
import time

from conftest import SOON_SECONDS
from control_plane import wait
from tables import condition, table, until, until_ready, versions


def test_b28_another_operator_rolls_nothing(api, operator, namespace):
    one = operator.start("--server-image=registry.test/server:1")
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    before = api.get("StatefulSet", "manuals", namespace)["spec"]["template"]
    one.terminate()
    operator.start("--server-image=registry.test/server:2", name="two")
    time.sleep(4)
    assert api.get("StatefulSet", "manuals", namespace)["spec"]["template"] == before
    # Drift is repaired with the template that was.
    api.patch("StatefulSet", "manuals", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 20}}}}, namespace)
    wait("put back", lambda: api.get("StatefulSet", "manuals", namespace)["spec"]["template"] == before, SOON_SECONDS)
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"rollout": {"drainSeconds": 31}}}}, namespace)
    wait("the next change takes it", lambda: "server:2" in json.dumps(api.get("StatefulSet", "manuals", namespace)["spec"]["template"]), SOON_SECONDS)


def test_an_object_of_another_version_is_a_condition(api, operator, namespace):
    """The message names the field; fixing it converges."""
    operator.start()
    odd = table(spec={"legs": []})
    odd["spec"]["sources"][0]["include"] = ["[z-a]"]  # no API server can tell
    api.apply("VirtualTable", odd, namespace)
    stalled = until(api, namespace, "Stalled", "True", "InvalidSpec")
    assert "spec.sources[0].include" in stalled["message"]
    fixed = table()
    api.apply("VirtualTable", fixed, namespace)
    until_ready(api, namespace)
    assert condition(api.get("VirtualTable", "manuals", namespace), "Stalled") == {}


def uids(api, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in api.list("Pod", namespace)}


def rendered(api, namespace: str) -> dict:
    """The pod template as last rendered."""
    return json.loads(api.get("StatefulSet", "manuals", namespace)["metadata"]["annotations"]["vdt.io/rendered"])


def render(api, namespace: str, template: dict) -> None:
    api.patch("StatefulSet", "manuals", {"metadata": {"annotations": {"vdt.io/rendered": json.dumps(template)}}}, namespace)


def set_template(api, namespace: str) -> dict:
    return api.get("StatefulSet", "manuals", namespace)["spec"]["template"]


def test_b28_an_older_operator_rolls_nothing_of_a_newer_one_and_takes_nothing_from_its_pods(api, operator, namespace):
    one = operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    # Pods as no operator of today would make them: with an annotation more, and told by a ConfigMap of another format.
    later = json.loads(json.dumps(rendered(api, namespace)).replace("manuals-config-v1", "manuals-config-v2"))
    later["template"]["metadata"]["annotations"]["vdt.io/later"] = "yes"
    # A look that began before it is written puts its own back.
    wait("it is taken", lambda: render(api, namespace, later) or "vdt.io/later" in json.dumps(set_template(api, namespace)), SOON_SECONDS, 1)
    wait("pods are of the later kind", lambda: [p["metadata"]["annotations"].get("vdt.io/later") for p in api.list("Pod", namespace)] == ["yes"] * 2, 60)
    until_ready(api, namespace)
    one.terminate()
    # The newer one hashes otherwise, writes a field more, and has left no ConfigMap of the older format.
    later = rendered(api, namespace) | {"inputs": "otherwise", "operator": "9.0.0", "beside": {"a": 1}}
    render(api, namespace, later)
    config = api.get("ConfigMap", "manuals-config-v1", namespace)
    kept = {name: config["metadata"][name] for name in ("labels", "annotations", "ownerReferences")}
    api.create("ConfigMap", {"metadata": {"name": "manuals-config-v2", **kept}, "data": config["data"]}, namespace)
    api.delete("ConfigMap", "manuals-config-v1", namespace)
    newer = lambda: api.get("ConfigMap", "manuals-config-v2", namespace)  # noqa: E731
    template, pods, written = set_template(api, namespace), uids(api, namespace), newer()["metadata"]["resourceVersion"]

    operator.start(name="older")
    wait("the older one looked", lambda: api.get("ConfigMap", "manuals-config-v1", namespace), SOON_SECONDS)
    time.sleep(4)
    assert set_template(api, namespace) == template
    assert uids(api, namespace) == pods
    assert newer()["metadata"]["resourceVersion"] == written
    found = rendered(api, namespace)
    assert {name: found[name] for name in ("template", "claims", "operator", "beside")} == {name: later[name] for name in ("template", "claims", "operator", "beside")}

    # Nothing reaches these by another way than anew, not even that there is a new generation, which a status waits for.
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"disruption": {"maxUnavailable": 2}}}}, namespace)
    wait("pods are new", lambda: len(uids(api, namespace) - pods) == 2, 60)
    until_ready(api, namespace)
    assert "manuals-config-v2" not in json.dumps(set_template(api, namespace))
    wait("nobody reads the newer ConfigMap, and it goes", lambda: newer() is None, SOON_SECONDS)


def test_b28_a_template_of_a_later_format_is_left_alone_and_said(api, operator, namespace):
    one = operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    one.terminate()
    render(api, namespace, {"format": 2, "operator": "9.0.0", "pods": []})
    before, pods = versions(api, namespace), uids(api, namespace)
    operator.start(name="older")
    stalled = until(api, namespace, "Stalled", "True", "Unsupported")
    assert "operator 9.0.0" in stalled["message"] and "vdt.io/rendered" in stalled["message"]
    # Neither a change nor drift makes it touch what it cannot read.
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"rollout": {"drainSeconds": 31}}}}, namespace)
    api.delete("PodDisruptionBudget", "manuals", namespace)
    time.sleep(6)
    before["PodDisruptionBudget", "manuals"] = None
    assert versions(api, namespace) == before
    assert uids(api, namespace) == pods
    # The remedy that the message names.
    api.patch("StatefulSet", "manuals", {"metadata": {"annotations": {"vdt.io/rendered": None}}}, namespace)
    wait("pods are new", lambda: len(uids(api, namespace) - pods) == 2, 60)
    until_ready(api, namespace)


def test_b28_who_writes_config_maps_makes_no_pods_by_that(api, operator, namespace):
    """No ConfigMap that the operator may read says what pods are: neither one that it keeps nor one that is given to the table."""
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    before, pods = set_template(api, namespace), uids(api, namespace)
    mine = rendered(api, namespace)
    mine["template"]["spec"] |= {"serviceAccountName": "default", "hostNetwork": True}
    text = json.dumps(mine)
    config = api.get("ConfigMap", "manuals-config-v1", namespace)["metadata"]
    kept = {name: config[name] for name in ("labels", "annotations", "ownerReferences")}
    api.create("ConfigMap", {"metadata": {"name": "manuals-template", **kept}, "data": {"template.json": text}}, namespace)
    api.patch("ConfigMap", "manuals-config-v1", {"metadata": {"annotations": {"vdt.io/rendered": text}}, "data": {"template.json": text}}, namespace)
    # An edit, so that a template is asked for.
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"disruption": {"maxUnavailable": 2}}}}, namespace)
    wait("what is nobody's goes", lambda: api.get("ConfigMap", "manuals-template", namespace) is None, SOON_SECONDS)
    wait("it is acted upon", lambda: api.get("PodDisruptionBudget", "manuals", namespace)["spec"]["maxUnavailable"] == 2, SOON_SECONDS)
    until_ready(api, namespace)
    assert set_template(api, namespace) == before
    assert uids(api, namespace) == pods


def test_two_operators_of_one_table_do_not_write_without_end(api, operator, namespace):
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    config = lambda: api.get("ConfigMap", "manuals-config-v1", namespace)["metadata"]  # noqa: E731
    operator.start(name="two", lease="other")
    sole = until(api, namespace, "SoleOperator", "False", "OperatorsOverlap")
    assert "vdt-system/other" in sole["message"] and "vdt-system/vdt-operator-leader" in sole["message"]
    wait("the other one says so", lambda: "OperatorsOverlap" in [one["reason"] for one in api.list("Event", namespace)], SOON_SECONDS)
    assert config()["annotations"]["vdt.io/operator"] == "vdt-system/vdt-operator-leader"
    before, version = versions(api, namespace), config()["resourceVersion"]
    time.sleep(10)
    assert (versions(api, namespace), config()["resourceVersion"]) == (before, version)
    # The one goes; the other one has the table as soon as it asks.
    operator.stop()
    operator.start(name="three", lease="other")
    wait("it is handed over", lambda: config()["annotations"]["vdt.io/operator"] == "vdt-system/other", SOON_SECONDS)
    api.delete("PodDisruptionBudget", "manuals", namespace)
    # The other one has a minute to say that it is still there.
    wait("it acts upon it", lambda: api.get("PodDisruptionBudget", "manuals", namespace), 150)
