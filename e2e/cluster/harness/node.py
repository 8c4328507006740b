"""Nodes: made of namespaces and cgroups, entered to run commands, ended without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import cgroups
from .settings import DNS_SERVICE, Settings

ENVIRONMENT = ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]


def run(*args: str | Path) -> None:
    subprocess.run([*map(str, args)], check=True)


class Node:
    """One node of the cluster, running or not."""

    def __init__(self, settings: Settings, name: str):
        self.settings = settings
        self.name = name
        self.folder = settings.work / name
        self.logs = self.folder / "log"
        self.cgroup = f"{settings.prefix}-{name}"

    def start(self) -> None:
        """Makes the node with its network; nothing runs on it yet but its process 1."""
        settings = self.settings
        shutil.rmtree(self.folder, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self._configure()
        cgroups.create(self.cgroup)
        controllers = "v2" if cgroups.V2 else " ".join(cgroups.CONTROLLERS)
        directories = cgroups.directories(self.cgroup)
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child",
             "--propagation", "private", "/bin/bash", Path(__file__).parent / "node.sh",
             self.name, settings.address(self.name), self.folder, settings.work, settings.bin, controllers],
            stdin=subprocess.DEVNULL, stdout=(self.logs / "init.log").open("w"), stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=lambda: cgroups.join(directories),
        )  # fmt: skip
        end = time.monotonic() + 20
        while not (self.folder / "ready").exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"node {self.name} did not start:\n{(self.logs / 'init.log').read_text()}")
            time.sleep(0.02)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (self.folder / "pid").write_text(child)
        cgroups.settle(self.cgroup)
        self._connect(child)

    def _configure(self) -> None:
        settings, pki = self.settings, self.settings.pki
        (self.folder / "resolv.conf").write_text(f"nameserver {DNS_SERVICE}\n")
        ipam = {"type": "host-local", "ranges": [[{"subnet": settings.pods(self.name)}]], "routes": [{"dst": "0.0.0.0/0"}]}
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
        ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
        (self.folder / "cni.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": settings.prefix, "plugins": [bridge, ports]})
        )
        (self.folder / "containerd.toml").write_text(
            """version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.local/pause:1"
  restrict_oom_score_adj = true  # the caller may lack CAP_SYS_RESOURCE
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""
        )
        kubelet = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{pki}/kubelet-{self.name}.crt",
            "tlsPrivateKeyFile": f"{pki}/kubelet-{self.name}.key",
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            # Nothing can pull again what a kubelet that sees a full disk would throw away.
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "2s",
        }
        (self.folder / "kubelet.json").write_text(json.dumps(kubelet))
        proxy = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": f"{settings.pod_network}.0.0/16",
            "clientConnection": {"kubeconfig": f"{pki}/proxy.kubeconfig"},
            "hostnameOverride": self.name,
            # Leave the shared kernel's conntrack settings alone.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        (self.folder / "proxy.json").write_text(json.dumps(proxy))

    def _connect(self, pid: str) -> None:
        """A cable from the bridge to the node, and routes to the pods of the others."""
        settings = self.settings
        cable = f"{settings.bridge}-{self.name}"
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", pid)
        run("ip", "link", "set", cable, "master", settings.bridge, "up")
        lines = [
            f"ip addr add {settings.address(self.name)}/24 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {settings.network}.1",
        ]
        for other in settings.names():
            if other != self.name:
                lines.append(f"ip route add {settings.pods(other)} via {settings.address(other)}")
        self.exec("sh", "-ec", "; ".join(lines))
        # So that the machine itself reaches pods, and they answer.
        run("ip", "route", "replace", settings.pods(self.name), "via", settings.address(self.name))

    def _inside(self, args: tuple[str | Path, ...]) -> list[str]:
        pid = (self.folder / "pid").read_text()
        return ["nsenter", "-t", pid, "-m", "-p", "-n", "-i", "-u", "-C", "--", *ENVIRONMENT, *map(str, args)]

    def exec(self, *args: str | Path, check: bool = True, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs a command inside the node."""
        directories = cgroups.joined(self.cgroup)
        return subprocess.run(
            self._inside(args), check=check, text=True, capture_output=capture,
            preexec_fn=lambda: cgroups.join(directories),
        )  # fmt: skip

    def inside(self, path: str) -> Path:
        """A path of the node below its data folders (/var/lib/kubelet and the like), as this machine sees it."""
        part = Path(path).relative_to("/var/lib")
        return self.folder / "data" / part

    def root(self) -> Path:
        """The root of a running node's files, as this machine sees it."""
        return Path("/proc") / (self.folder / "pid").read_text() / "root"

    def spawn(self, component: str, *args: str | Path) -> None:
        """Starts a component in the background, its output in `log/<component>.log`, and remembers how."""
        (self.logs / f"{component}.json").write_text(json.dumps([*map(str, args)]))
        directories = cgroups.joined(self.cgroup)
        process = subprocess.Popen(
            self._inside(args), stdin=subprocess.DEVNULL, stdout=(self.logs / f"{component}.log").open("a"),
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=lambda: cgroups.join(directories),
        )  # fmt: skip
        (self.logs / f"{component}.pid").write_text(str(process.pid))

    def pid_of(self, component: str) -> int | None:
        """The component's own pid on the machine. What `spawn` started is nsenter, which forks into the namespace."""
        try:
            wrapper = int((self.logs / f"{component}.pid").read_text())
            children = Path(f"/proc/{wrapper}/task/{wrapper}/children").read_text().split()
        except OSError:
            return None
        pids = {int(pid) for pid in children}
        return next(iter(pids & cgroups.processes(self.cgroup)), None)

    def stop(self, component: str, *, number: int = signal.SIGTERM, seconds: float = 10) -> None:
        """Ends a component and waits for that; kills it when it takes longer than `seconds`.

        The API server does: it lets the requests of others run out, up to a minute.
        """
        pid = self.pid_of(component)
        if pid is None:
            return
        os.kill(pid, number)
        end = time.monotonic() + seconds
        while cgroups.runs(pid):
            if time.monotonic() > end and number != signal.SIGKILL:
                number, end = signal.SIGKILL, time.monotonic() + seconds
                os.kill(pid, number)
            elif time.monotonic() > end:
                raise TimeoutError(f"{component} on {self.name} does not end")
            time.sleep(0.02)

    def start_again(self, component: str) -> None:
        """Starts a component as it was started before."""
        args = json.loads((self.logs / f"{component}.json").read_text())
        self.spawn(component, *args)


def clean(settings: Settings) -> None:
    """Removes every trace of the nodes: processes, cgroups, loop devices, the bridge, folders. Safe at any time."""
    for name in cgroups.leftovers(settings.prefix):
        cgroups.remove(name)
    listed = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        if f"{settings.work}/" in line:
            subprocess.run(["losetup", "-d", line.split(":")[0]], check=False)
    # A cable goes with its node's network, but the kernel takes its time.
    for link in Path("/sys/class/net").glob(f"{settings.bridge}*"):
        subprocess.run(["ip", "link", "del", link.name], check=False, capture_output=True)
    end = time.monotonic() + 10
    while any(Path("/sys/class/net").glob(f"{settings.bridge}*")) and time.monotonic() < end:
        time.sleep(0.05)
    for folder in settings.work.glob("n*"):
        shutil.rmtree(folder, ignore_errors=True)
