"""Child processes that end: by pid, within a deadline, and with their parent.

Every child is started through `setpriv --pdeathsig KILL` where that exists, so that a test run that is killed
leaves nothing behind. A child's output goes to a file, never to a pipe that could fill up.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports that are free on loopback now. Another process may be quicker: callers try again."""
    sockets, ports = [], []
    try:
        while len(ports) < count:
            s = socket.socket()
            s.bind(("127.0.0.1", 0))
            sockets.append(s)
            ports.append(s.getsockname()[1])
    finally:
        for s in sockets:
            s.close()
    return ports


def wait_until(what: str, check: Callable[[], T], seconds: float, every: float = 0.02) -> T:
    """Returns the first true value of `check()`. Raises TimeoutError after `seconds`. All that is waited for anywhere in e2e is waited for by this."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(every)


class Process:
    """One child process with its log file."""

    def __init__(self, argv: list, log: Path, env: dict | None = None, cwd: Path | None = None):
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self.argv = [str(a) for a in argv]
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(
                guard + self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=cwd
            )
        self.pid = self.child.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative signal number if a signal ended it."""
        return self.child.poll()

    def wait(self, seconds: float) -> int:
        return self.child.wait(timeout=seconds)

    def terminate(self, seconds: float = 20) -> int:
        """SIGTERM, and SIGKILL if that did not do within the deadline. Returns the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                return self.child.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                return self.kill()
        return self.child.returncode

    def kill(self) -> int:
        """SIGKILL, at once. Returns when the process is gone."""
        if self.child.poll() is None:
            self.child.kill()
        return self.child.wait(timeout=20)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def rss_bytes(self) -> int:
        """Resident memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(self.pid)

    def cpu_seconds(self) -> float:
        """CPU time of the process and its children, alive ones included."""
        return sum(_cpu_seconds(pid) for pid in _family(self.pid))


def _family(pid: int) -> list[int]:
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(c) for c in (task / "children").read_text().split()]
    return [pid] + [p for child in children for p in _family(child)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[i]) for i in (11, 12)) / os.sysconf("SC_CLK_TCK")  # utime and stime: proc(5), fields 14 and 15
