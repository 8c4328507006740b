"""Makes the objects of a fixture: `make.sh` runs it beside the control plane of `e2e/operator`, with the operator of the version in VDT_OPERATOR."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import yaml
from conftest import Operator, define, started
from control_plane import GROUPS
from earlier.restore import ADMIN_KEY, GIVEN, HERE, IMAGES, LEASE, OPERATOR, OWNER, SYSTEM, TABLES, Earlier
from pods import Pods
from tables import until_ready

CHILDREN = ("ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Service", "NetworkPolicy", "PodDisruptionBudget", "StatefulSet")
"""In the order in which they are restored: what pods need comes before them."""

SINCE_REFUSED = {"papers": {"podTemplate": {"env": [{"name": "VDT_CLAIMS_DIR", "value": "/elsewhere"}]}}}
"""More of `spec.server` of a table that was let be once: it is in the fixtures of versions that take it."""

SERVER_MADE = ("uid", "resourceVersion", "creationTimestamp", "generation", "finalizers")


def apply(plane, namespace: str, table: dict) -> None:
    def asked(one: dict, *more: str, check: bool) -> str:
        return plane.kubectl("apply", "--server-side", "-n", namespace, *more, "-f", "-", stdin=json.dumps(one), check=check)

    server = table["spec"]["server"] | SINCE_REFUSED.get(table["metadata"]["name"], {})
    all_of_it = table | {"spec": table["spec"] | {"server": server}}
    is_taken = "invalid" not in asked(all_of_it, "--dry-run=server", check=False)
    asked(all_of_it if is_taken else table, check=True)


def portable(found: dict, api_version: str, kind: str) -> dict:
    """An object without what an API server and its controllers make of their own."""
    metadata = {name: value for name, value in found["metadata"].items() if name not in SERVER_MADE}
    keeps_status = kind == "VirtualTable"
    metadata["managedFields"] = [one for one in metadata["managedFields"] if keeps_status or "subresource" not in one]
    rest = {name: value for name, value in found.items() if name not in ("apiVersion", "kind", "metadata") and (keeps_status or name != "status")}
    if kind == "Service" and rest["spec"]["clusterIP"] != "None":
        del rest["spec"]["clusterIP"], rest["spec"]["clusterIPs"]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata} | rest


class Readable(yaml.SafeDumper):
    """Texts of several lines as such."""


Readable.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None))


def write(folder: Path, part: str, objects: list[dict], owner: str | None = None) -> None:
    text = yaml.dump_all(objects, Dumper=Readable, width=10_000)
    (folder / f"{part}.yaml").write_text(text.replace(owner, OWNER) if owner else text)


def dump(api, earlier: Earlier, table: str) -> None:
    """Writes a table and its children. Claims of caches are its StatefulSet's, which makes them again."""
    found = api.get("VirtualTable", table, earlier.namespace)
    # The template holds for this generation, and whoever restores the table has its first one.
    assert found["metadata"]["generation"] == 1, found["metadata"]
    objects = [portable(found, found["apiVersion"], "VirtualTable")]
    for kind in CHILDREN:
        for child in api.list(kind, earlier.namespace, labelSelector=f"app.kubernetes.io/instance={table},app.kubernetes.io/managed-by=vdt-operator"):
            if child["metadata"]["labels"].get("vdt.io/claim") != "cache":
                version = GROUPS[kind][0].partition("/")[2]  # without `api` or `apis`
                objects.append(portable(child, version, kind))
    write(earlier.folder, table, objects, found["metadata"]["uid"])


def main() -> None:
    earlier = Earlier(HERE / sys.argv[1])
    namespace = earlier.namespace
    with tempfile.TemporaryDirectory() as at:
        with started(Path(at)) as plane:
            api = plane.api
            # Not over the one that is there: what is asked right after that may still be judged by it.
            plane.kubectl("delete", "-f", str(earlier.definition))
            define(plane, earlier.definition)
            pods = Pods(api)
            operator = Operator(plane, pods, Path(at), plane.kubeconfig("operator"))
            try:
                api.create("Namespace", {"metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}, None)
                for one in GIVEN:
                    api.create(one["kind"], one, namespace)
                for one in yaml.safe_load_all((HERE / "tables.yaml").read_text().replace("VERSION", earlier.folder.name)):
                    apply(plane, namespace, one)
                for table in TABLES:
                    (report,) = pods.healthy(f"{namespace}/{table}")
                    pods.reports[f"{namespace}/{table}"] = [report | {"table": f"main/docs/{table}"}]
                operator.start(f"--server-image={IMAGES['server']}", f"--sidecar-image={IMAGES['sidecar']}", lease=LEASE)
                for table in TABLES:
                    until_ready(api, namespace, table)
                    dump(api, earlier, table)
                write(earlier.folder, OPERATOR, [portable(api.get("Secret", ADMIN_KEY, SYSTEM), "v1", "Secret")])
            finally:
                operator.stop()
                pods.stop()


if __name__ == "__main__":
    main()
