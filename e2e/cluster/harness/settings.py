"""Where the cluster lies and how its parts are called.

Everything that the machine shares (bridge, cgroups, mounts) carries one prefix, so that what a killed run left behind is
found by name and nothing else is ever touched.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"


def cache() -> Path:
    """The cache that all checkouts share."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VDT_E2E_CACHE") or Path(base) / "vdt-e2e") / "cluster"


@contextmanager
def making() -> Iterator[None]:
    """Held while something is made in the cache: two clusters that start at once do not make the same file."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "making.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def binaries() -> Path:
    """The folder of the binaries; builds them when something is missing (`binaries.sh`)."""
    out = subprocess.run([HERE / "binaries.sh"], stdout=subprocess.PIPE, text=True, check=False)
    if out.returncode != 0:
        sys.exit("cluster: its binaries could not be built, see above")
    return Path(out.stdout.strip().splitlines()[-1])


@dataclass(frozen=True)
class Settings:
    """One cluster. A second one on the same machine needs another prefix, folder and other networks."""

    work: Path
    """Node roots and logs; on ext4 or xfs, for containerd's overlays do not lie on an overlay."""
    bin: Path
    nodes: int
    prefix: str
    network: str
    """First three parts of the bridge's /24: the machine is .1, node i is .i+1."""
    pod_network: str = "10.244"
    """First two parts of the pods' /16. The machine has routes to it, so two clusters share none."""

    @classmethod
    def from_environment(cls, *, build: bool = True) -> Settings:
        # Beside number 0 run others, each with names and networks of its own.
        number = int(os.environ.get("E2E_CLUSTER_NUMBER", "0"))
        own = str(number) if number else ""
        return cls(
            work=Path(os.environ.get("E2E_CLUSTER_WORK") or cache() / f"run{own}"),
            bin=binaries() if build else cache() / "bin",
            nodes=int(os.environ.get("E2E_CLUSTER_NODES", "2")),
            prefix=os.environ.get("E2E_CLUSTER_PREFIX", f"vdte2e{own}"),
            network=os.environ.get("E2E_CLUSTER_NETWORK", f"10.200.{number}"),
            pod_network=os.environ.get("E2E_CLUSTER_PODS", f"10.{244 + number}"),
        )

    @property
    def pki(self) -> Path:
        return self.work / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.pki / "admin.kubeconfig"

    @property
    def bridge(self) -> str:
        return f"{self.prefix}0"

    @property
    def audit_log(self) -> Path:
        return self.work / "n1" / "log" / "audit.log"

    def names(self) -> list[str]:
        return [f"n{i}" for i in range(1, self.nodes + 1)]

    def address(self, node: str) -> str:
        return f"{self.network}.{int(node[1:]) + 1}"

    def pods(self, node: str) -> str:
        """The pod network of a node."""
        return f"{self.pod_network}.{int(node[1:]) - 1}.0/24"

    @property
    def api(self) -> str:
        return f"https://{self.address('n1')}:6443"
