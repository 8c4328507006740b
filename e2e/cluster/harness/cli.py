"""The command `e2e/cluster/cluster`."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import control, images, node, pki
from .node import Node
from .settings import HERE, Settings


class Clock:
    """Says what was reached after how many seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f}s {text}", file=sys.stderr, flush=True)


def up(settings: Settings, archives: list[Path]) -> None:
    """Brings the cluster up; whatever an earlier one left is removed first."""
    need_root()
    own = images.own(settings)
    clock = Clock()
    node.clean(settings)
    settings.work.mkdir(parents=True, exist_ok=True)
    pki.ensure(settings)
    clock.say("clean, certificates")
    node.run("ip", "link", "add", settings.bridge, "type", "bridge")
    node.run("ip", "addr", "add", f"{settings.network}.1/24", "dev", settings.bridge)
    node.run("ip", "link", "set", settings.bridge, "up")
    nodes = [Node(settings, name) for name in settings.names()]
    for each in nodes:
        each.start()
        control.start_containerd(each)
    clock.say("nodes")
    with ThreadPoolExecutor(len(nodes)) as pool:
        # Images and the control plane come up side by side: one waits for the disk, the other for etcd.
        loads = [pool.submit(load_when_ready, settings, each, own) for each in nodes]
        control.start_control_plane(settings, nodes[0])
        clock.say("API server")
        for each in loads:
            each.result()
    for each in nodes:
        control.start_node_agents(settings, each)
    control.wait("all nodes ready", lambda: control.nodes_ready(settings))
    clock.say(f"{len(nodes)} nodes ready")
    control.deploy(settings, HERE / "manifests" / "coredns.yaml")
    control.wait("the default service account", lambda: "default" in control.kubectl(settings, "get", "sa", check=False))
    clock.say("cluster DNS")
    if archives:
        images.load(settings, nodes, archives)
        clock.say("images")


def load_when_ready(settings: Settings, each: Node, archives: list[Path]) -> None:
    """containerd opens its socket a moment after it starts."""
    control.wait(
        f"containerd on {each.name}",
        lambda: each.exec("ctr", "version", check=False, capture=True).returncode == 0,
        seconds=30,
    )
    images.load(settings, [each], archives)


def down(settings: Settings) -> None:
    """Removes the cluster; its logs go too, its certificates stay."""
    need_root()
    node.clean(settings)


def need_root() -> None:
    if os.geteuid() != 0:
        sys.exit("cluster: namespaces, mounts and cgroups need root; or point E2E_KUBECONFIG at a cluster of yours")


def lock(settings: Settings) -> object:
    """One command at a time that starts or ends things. The lock is the open file: keep it."""
    settings.work.mkdir(parents=True, exist_ok=True)
    file = (settings.work / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main(args: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="cluster", description="A Kubernetes on one machine, in namespaces.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start it; what an earlier one left is removed first")
    start.add_argument("archives", nargs="*", type=Path, help="OCI archives to load into every node")
    commands.add_parser("down", help="end it")
    commands.add_parser("env", help="print the variables for a shell: eval $(cluster env)")
    fill = commands.add_parser("load", help="load OCI archives into every node")
    fill.add_argument("archives", nargs="+", type=Path)
    for name, text in (
        ("restart", "end a component (SIGTERM) and start it again"),
        ("stop", "end a component"),
        ("kill", "end a component with SIGKILL"),
        ("start", "start a component that was ended"),
    ):
        each = commands.add_parser(name, help=text)
        each.add_argument("node")
        each.add_argument("component", help="etcd, kube-apiserver, kubelet, containerd, ...")
    inside = commands.add_parser("exec", help="run a command inside a node")
    inside.add_argument("node")
    inside.add_argument("args", nargs=argparse.REMAINDER)
    kubectl = commands.add_parser("kubectl", help="the cluster's own kubectl, as administrator", add_help=False)
    kubectl.add_argument("args", nargs=argparse.REMAINDER)
    given = parser.parse_args(args)

    settings = Settings.from_environment(build=given.command == "up")
    match given.command:
        case "env":
            print(f"export KUBECONFIG={settings.kubeconfig} PATH={settings.bin}:$PATH")
        case "kubectl":
            program = settings.bin / "kubectl"
            os.execv(program, ["kubectl", "--kubeconfig", str(settings.kubeconfig), *given.args])
        case "exec":
            return Node(settings, given.node).exec(*given.args, check=False).returncode
        case _:
            held = lock(settings)
            change(settings, given)
            del held
    return 0


def change(settings: Settings, given: argparse.Namespace) -> None:
    match given.command:
        case "up":
            up(settings, given.archives)
        case "down":
            down(settings)
        case "load":
            images.load(settings, [Node(settings, name) for name in settings.names()], given.archives)
        case "restart":
            each = Node(settings, given.node)
            each.stop(given.component)
            each.start_again(given.component)
        case "stop":
            Node(settings, given.node).stop(given.component)
        case "kill":
            Node(settings, given.node).stop(given.component, number=signal.SIGKILL)
        case "start":
            Node(settings, given.node).start_again(given.component)
