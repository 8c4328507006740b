"""`vdt-load`, built beside vdt: requests against one server, and a longer line to a server."""

import json
import subprocess
from pathlib import Path

from lib.process import Process, wait_until
from lib.vdt import binary


def _binary() -> Path:
    found = binary().with_name("vdt-load")
    if not found.exists():
        raise FileNotFoundError(f"{found} is missing: make release")
    return found


def load(
    work: Path, server: str, targets: list[tuple[str, int, int]], cacert: Path | None = None, may_fail: bool = False, **options
) -> dict:
    """One run of `vdt-load get`: what it printed. A request that fails is an error of the benchmark, unless that counts them itself."""
    file = work / "targets"
    file.write_text("\n".join(f"{path} {start} {end}" for path, start, end in targets))
    argv = [_binary(), "get", server, "--targets", file]
    for header in options.pop("headers", []):
        argv += ["--header", header]
    if cacert:
        argv += ["--cacert", cacert]
    for name, value in options.items():
        argv += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"vdt-load: exit code {done.returncode}\n{done.stderr}")
    result = json.loads(done.stdout)
    if result["errors"] and not may_fail:
        raise RuntimeError(f"{server}: {result['errors']} of {result['requests']} requests failed: {result['first_error']}")
    return result


class Delay:
    """A line to `host` whose every request takes `ms` longer. A context manager."""

    def __init__(self, work: Path, host: str, ms: int):
        log = work / f"delay-{ms}.log"
        log.unlink(missing_ok=True)
        self.process = Process([_binary(), "delay", host, "--ms", ms], log)
        self.endpoint = "http://" + wait_until("the line is up", lambda: log.read_text().strip(), 10)

    def __enter__(self) -> "Delay":
        return self

    def __exit__(self, *_):
        self.process.kill()
