"""The cgroups of nodes, on hosts of either version.

They are how leftovers are found: whatever process lies in a cgroup of our name is ours, whoever started it and whatever
became of the pid files.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

CONTROLLERS = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"]
ROOT = Path("/sys/fs/cgroup")
V2 = (ROOT / "cgroup.controllers").exists()


def _own(controller: str) -> str:
    """The cgroup of this process: below it lie the nodes, so that a limit on the caller holds for them too."""
    wanted = "name=systemd" if controller == "systemd" else controller
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if wanted in controllers.split(","):
            return path.strip("/")
    return ""


def directories(name: str) -> list[Path]:
    """The cgroup directories of a node, whether they exist or not."""
    if V2:
        return [ROOT / name]
    return [ROOT / c / _own(c) / name for c in CONTROLLERS]


def joined(name: str) -> list[Path]:
    """Where the node's processes go: with version 2 a leaf, for an inner node that shares controllers holds none."""
    return [d / "init" for d in directories(name)] if V2 else directories(name)


def create(name: str) -> None:
    for directory in directories(name):
        directory.mkdir(parents=True, exist_ok=True)
        if directory.parts[4] == "cpuset" and not V2:
            for file in ("cpuset.cpus", "cpuset.mems"):
                (directory / file).write_text((directory.parent / file).read_text())


def settle(name: str) -> None:
    """Version 2 only: moves the node's first processes to the leaf and shares the controllers below the node."""
    if not V2:
        return
    (root,) = directories(name)
    (root / "init").mkdir(exist_ok=True)
    for pid in (root / "cgroup.procs").read_text().split():
        (root / "init" / "cgroup.procs").write_text(pid)
    for directory in (ROOT, root):
        for controller in (directory / "cgroup.controllers").read_text().split():
            try:
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:
                continue  # not every controller can be shared everywhere; the kubelet says which it misses


def join(directories: list[Path]) -> None:
    """Moves this process, and so its children, there."""
    for directory in directories:
        (directory / "cgroup.procs").write_text(str(os.getpid()))


def processes(name: str) -> set[int]:
    found: set[int] = set()
    for directory in directories(name):
        for file in directory.rglob("cgroup.procs") if directory.is_dir() else []:
            try:
                found.update(int(pid) for pid in file.read_text().split())
            except OSError:
                continue
    return found - {os.getpid()}


def runs(pid: int) -> bool:
    """Whether a process is alive; one that nobody reaped yet is not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def leftovers(prefix: str) -> list[str]:
    """Nodes whose cgroups exist."""
    parents = [directories("x")[0].parent]
    return sorted({d.name for parent in parents for d in parent.glob(f"{prefix}-n*") if d.is_dir()})


def remove(name: str, *, seconds: float = 10) -> None:
    """Kills what runs in a node's cgroups and removes them.

    # Errors
    `TimeoutError` when a process survives SIGKILL for `seconds` (it hangs in the kernel).
    """
    end = time.monotonic() + seconds
    while pids := processes(name):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > end:
            raise TimeoutError(f"processes {sorted(pids)} of node {name} do not end")
        time.sleep(0.05)
    for directory in directories(name):
        inner = sorted((d for d in directory.rglob("*") if d.is_dir()), key=lambda d: -len(d.parts))
        for each in [*inner, directory]:
            while each.is_dir():
                try:
                    each.rmdir()
                except OSError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)
