#!/usr/bin/env python3
"""What schemas and habits of single objects do not show: whether rendered objects fit each other. Each file is taken by itself.

Usage: charts/relations.py FILE...     prints a line for each finding, and fails if there is one

    Service, PodMonitor, PodDisruptionBudget, NetworkPolicy   select pods that there are
    ports by name or number, of Services and probes           are ports of the containers
    selectors of workloads                                    are in their own template's labels
    service accounts                                          are there, in the field that is not deprecated
    variables                                                 are set once, and hold no value that looks like a secret
    several replicas                                          are spread over nodes
    PodDisruptionBudget                                       lets a drain go on
    maps                                                      have each key once: Flux refuses what the API server takes
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|PRIVATE_?KEY|ACCESS_?KEY)(_|$)", re.IGNORECASE)


def matches(selector: dict, labels: dict) -> bool:
    expressions = selector.get("matchExpressions", [])
    wanted = selector.get("matchLabels", selector if not expressions else {})
    return wanted.items() <= labels.items() and all(
        (labels.get(one["key"]) in one.get("values", [])) == (one["operator"] == "In") for one in expressions if one["operator"] in ("In", "NotIn")
    )


def containers(spec: dict) -> list[dict]:
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def ports(spec: dict) -> set:
    found = [port for one in containers(spec) for port in one.get("ports", [])]
    return {port["containerPort"] for port in found} | {port["name"] for port in found if "name" in port}


class Loader(yaml.SafeLoader):
    """Remembers keys that a map has twice, where PyYAML takes the last one and says nothing."""

    def __init__(self, text: str):
        super().__init__(text)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        self.twice += [f"line {node.start_mark.line + 1}: the key {key} is there twice" for key in sorted({one for one in keys if keys.count(one) > 1})]
        return super().construct_mapping(node, deep)


class File:
    """The objects of a file, and the pods that they make: by name, labels and spec."""

    def __init__(self, text: str):
        loader = Loader(text)
        self.objects = []
        while loader.check_data():
            self.objects += [one] if (one := loader.get_data()) else []
        self.twice = loader.twice
        self.pods = [("Pod " + one["metadata"]["name"], one["metadata"].get("labels", {}), one["spec"]) for one in self.kind("Pod")]
        for workload in self.kind(*WORKLOADS):
            template = workload["spec"]["template"]
            self.pods.append((title(workload), template["metadata"].get("labels", {}), template["spec"]))

    def kind(self, *kinds: str) -> list[dict]:
        return [one for one in self.objects if one["kind"] in kinds]

    def selected(self, selector: dict) -> list[dict]:
        return [spec for _, labels, spec in self.pods if matches(selector, labels)]

    def findings(self) -> Iterator[str]:
        yield from self.twice
        yield from self.selections()
        for workload in self.kind(*WORKLOADS):
            yield from self.workload(workload)
        for name, _, spec in self.pods:
            yield from self.pod(name, spec)

    def selections(self) -> Iterator[str]:
        for service in self.kind("Service"):
            selector = service["spec"].get("selector")
            pods = self.selected(selector) if selector else []
            if selector and not pods:
                yield f"{title(service)} selects no pod"
            for port in service["spec"].get("ports", []) if pods else []:
                target = port.get("targetPort", port["port"])
                if not any(target in ports(spec) for spec in pods):
                    yield f"{title(service)}: no container has the port {target}"
        for one in self.kind("PodDisruptionBudget"):
            spec = one["spec"]
            if not self.selected(spec["selector"]):
                yield f"{title(one)} selects no pod"
            if spec.get("maxUnavailable") in (0, "0%") or spec.get("minAvailable") == "100%":
                yield f"{title(one)} lets no pod go: a drain would never end"
            if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
                yield f"{title(one)}: a pod that is not ready anyway blocks a drain (unhealthyPodEvictionPolicy)"
        for policy in self.kind("NetworkPolicy"):
            if not self.selected(policy["spec"]["podSelector"]):
                yield f"{title(policy)} selects no pod"

    def workload(self, workload: dict) -> Iterator[str]:
        spec = workload["spec"]
        template = spec["template"]
        if "selector" in spec and not matches(spec["selector"], template["metadata"].get("labels", {})):
            yield f"{title(workload)}: its selector is not in its template's labels"
        pod = template["spec"]
        if spec.get("replicas", 1) > 1 and not (pod.get("topologySpreadConstraints") or "podAntiAffinity" in (pod.get("affinity") or {})):
            yield f"{title(workload)}: nothing spreads its pods over nodes"

    def pod(self, name: str, spec: dict) -> Iterator[str]:
        accounts = {one["metadata"]["name"] for one in self.kind("ServiceAccount")}
        account = spec.get("serviceAccountName", "default")
        if account != "default" and accounts and account not in accounts:
            yield f"{name}: there is no ServiceAccount {account}"
        if "serviceAccount" in spec:
            yield f"{name}: serviceAccount is deprecated, serviceAccountName is not"
        for container in containers(spec):
            where = f"{name}, container {container['name']}"
            variables = [one["name"] for one in container.get("env", [])]
            yield from (f"{where}: {one} is set twice" for one in sorted({one for one in variables if variables.count(one) > 1}))
            for one in container.get("env", []):
                if SECRET_NAME.search(one["name"]) and one.get("value"):
                    yield f"{where}: {one['name']} holds its value, not a reference to a Secret"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                how = container.get(probe, {})
                port = (how.get("httpGet") or how.get("tcpSocket") or how.get("grpc") or {}).get("port")
                if port is not None and port not in ports({"containers": [container]}):
                    yield f"{where}: {probe} asks the port {port}, which it does not have"
            if any(port["containerPort"] == 22 for port in container.get("ports", [])):
                yield f"{where}: nobody logs in to a pod by ssh"


def title(one: dict) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def main() -> int:
    failed = 0
    for path in map(Path, sys.argv[1:]):
        for finding in File(path.read_text()).findings():
            print(f"charts: {path.name}: {finding}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
