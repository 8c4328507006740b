"""The cluster itself: what the other tests rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from harness import images
from harness.settings import Settings
from kube import Refused, until
from lib.seaweed import program
from seaweed_pod import SeaweedPod

RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def pod(name: str, *, init: list[dict] | None = None, node: str | None = None, **container) -> dict:
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [busybox(name="main", **container)],
    }
    if init:
        spec["initContainers"] = init
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def busybox(**container) -> dict:
    base = {"image": "registry.local/busybox:1", "imagePullPolicy": "Never", "securityContext": RESTRICTED}
    return base | container


def serve(text: str) -> list[str]:
    return ["sh", "-c", f"echo {text} > /tmp/index.html && exec httpd -f -p 8080 -h /tmp"]


SCRATCH = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}


def web(name: str, node: str) -> dict:
    made = pod(name, node=node, command=serve(name), **SCRATCH)
    made["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]
    return made


def account_config(settings: Settings, token: str, out: Path) -> None:
    """A kubeconfig with a service account's token instead of the administrator's certificate."""
    config = yaml.safe_load(settings.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    out.write_text(yaml.safe_dump(config))


def test_pods_of_both_nodes_reach_a_service_by_name(kube, machine):
    kube.apply(
        web("one", "n1"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"},
         "spec": {"selector": {"app": "one"}, "ports": [{"port": 80, "targetPort": 8080}]}},
    )  # fmt: skip
    kube.wait("pod/one", "condition=Ready")
    name = f"one.{kube.namespace}.svc.cluster.local"
    for node in ("n1", "n2"):
        # Not wget: that of Debian's static busybox dies of a segmentation fault.
        ask = f"until printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {name} 80 | grep ^one; do sleep 0.2; done"
        made = pod(f"ask-{node}", node=node, command=["sh", "-c", ask])
        made["spec"]["restartPolicy"] = "Never"
        kube.apply(made)
        kube.wait(f"pod/ask-{node}", "jsonpath={.status.phase}=Succeeded")
        assert kube("logs", f"ask-{node}").strip() == "one"


def test_a_native_sidecar_starts_before_the_main_container_and_stops_after_it(kube):
    end = "trap 'echo {0} ends; exit 0' TERM; echo {0} starts; while :; do sleep 0.1; done"
    sidecar = busybox(
        name="sidecar", restartPolicy="Always", command=["sh", "-c", end.format("sidecar")],
        startupProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
    )  # fmt: skip
    made = pod("two", init=[sidecar], command=["sh", "-c", end.format("main")])
    made["spec"]["terminationGracePeriodSeconds"] = 10
    kube.apply(made)
    kube.wait("pod/two", "condition=Ready")
    state = kube.get("pod", "two")["status"]
    began = [c[0]["state"]["running"]["startedAt"] for c in (state["initContainerStatuses"], state["containerStatuses"])]
    assert began[0] <= began[1]


def test_python_and_its_delta_clients_run_in_a_pod(kube, clients_image):
    made = pod("clients", image=clients_image, args=["-c", "import deltalake, polars; print(deltalake.__version__, polars.__version__)"], **SCRATCH)
    made["spec"]["restartPolicy"] = "Never"
    made["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    kube.apply(made)
    kube.wait("pod/clients", "jsonpath={.status.phase}=Succeeded")
    assert len(kube("logs", "clients").split()) == 2


def test_a_pod_reads_a_bucket_outside_of_the_cluster(kube, clients_image, buckets):
    s3 = buckets.client()
    s3.create_bucket(Bucket="smoke")
    s3.put_object(Bucket="smoke", Key="a.csv", Body=b"x\n7\n")
    read = f"""import polars
print(polars.read_csv("s3://smoke/a.csv", storage_options=dict(aws_endpoint_url="{buckets.endpoint}", aws_region="us-east-1",
    aws_access_key_id="{buckets.access_key}", aws_secret_access_key="{buckets.secret_key}", aws_allow_http="true"))["x"].item())"""
    made = pod("reader", image=clients_image, args=["-c", read], **SCRATCH)
    made["spec"]["restartPolicy"] = "Never"
    made["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    kube.apply(made)
    kube.wait("pod/reader", "jsonpath={.status.phase}=Succeeded")
    assert kube("logs", "reader").strip() == "7"


def test_the_bucket_of_clusters_that_are_not_ours_goes_and_comes_back_with_what_it_had(kube, machine, tmp_path):
    """Its image is what stands in here for that of the registry: the same program, and a shell."""
    image = "registry.local/weed:1"
    machine.load(images.with_shell(image, Path(program())))
    service = SeaweedPod(kube, tmp_path, image).start()
    ask = f"nc -w 2 {service.host.replace(':', ' ')} </dev/null"
    kube.apply(pod("asks", command=["sleep", "1000"]))
    kube.wait("pod/asks", "condition=Ready")
    try:
        service.ensure_bucket("kept")
        service.upload("kept", {"a b": b"c"})
        kube("exec", "asks", "--", "sh", "-c", ask)
        service.stop()
        with pytest.raises(Refused):
            kube("exec", "asks", "--", "sh", "-c", ask)
        service.start()
        kube("exec", "asks", "--", "sh", "-c", ask)
        assert service.client().get_object(Bucket="kept", Key="a b")["Body"].read() == b"c"
    finally:
        service.end()


def test_a_pod_with_privileges_is_refused_here(kube):
    made = pod("bad", command=["true"])
    made["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    with pytest.raises(Refused, match="violates PodSecurity"):
        kube.apply(made, dry_run=True)


def test_a_stateful_set_keeps_its_claims_on_local_volumes(kube, machine):
    machine.node("n2").exec("mkdir", "-p", "/var/lib/kubelet/e2e-local/v0")
    machine.node("n2").exec("chmod", "0777", "/var/lib/kubelet/e2e-local/v0")
    on_n2 = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}
    kube.apply(
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "e2e-smoke"},
         "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "e2e-smoke",
                  "persistentVolumeReclaimPolicy": "Delete", "local": {"path": "/var/lib/kubelet/e2e-local/v0"},
                  "nodeAffinity": {"required": {"nodeSelectorTerms": [on_n2]}}}},
    )  # fmt: skip
    template = pod("set", command=["sh", "-c", "date >> /data/starts; exec sleep 1000"],
                   volumeMounts=[{"name": "data", "mountPath": "/data"}])  # fmt: skip
    del template["apiVersion"], template["kind"], template["metadata"]["name"]
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "e2e-smoke",
                                                    "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    kube.apply(
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"},
         "spec": {"serviceName": "set", "replicas": 1, "selector": {"matchLabels": {"app": "set"}},
                  "template": template, "volumeClaimTemplates": [claim]}},
    )  # fmt: skip
    until("the pod", lambda: kube.exists("pod", "set-0"))
    kube.wait("pod/set-0", "condition=Ready")
    kube("delete", "pod", "set-0")
    until("the next pod", lambda: kube.exists("pod", "set-0"))
    kube.wait("pod/set-0", "condition=Ready")
    assert len(kube("exec", "set-0", "--", "cat", "/data/starts").splitlines()) == 2
    kube("delete", "pv", "e2e-smoke", "--wait=false")


def test_requests_of_service_accounts_stand_in_the_audit_log(kube, machine):
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})
    robot = f"system:serviceaccount:{kube.namespace}:robot"
    config = machine.settings.work / "robot.kubeconfig"
    account_config(machine.settings, kube("create", "token", "robot").strip(), config)
    with pytest.raises(Refused, match="forbidden"):
        kube("get", "secrets", f"--kubeconfig={config}")
    entries = [json.loads(line) for line in machine.settings.audit_log.read_text().splitlines() if robot in line]
    assert any(e["responseStatus"]["code"] == 403 for e in entries)


def test_the_api_server_comes_back(kube, machine):
    node = machine.node("n1")
    before = node.pid_of("kube-apiserver")
    node.stop("kube-apiserver")
    node.start_again("kube-apiserver")

    def answers() -> bool:
        try:
            return kube.raw("/readyz") == "ok"
        except Refused:
            return False

    until("the API server", answers)
    assert node.pid_of("kube-apiserver") != before
