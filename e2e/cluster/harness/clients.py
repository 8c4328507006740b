"""An image with Python and the Delta clients, for Jobs inside the cluster: the machine's own Python, with packages of its own.

It is made of files that are here anyway, so it needs no base image and no registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from .settings import HERE, cache, making

sys.path.insert(0, str(HERE.parents[1]))

from image.oci import File, Image, archive  # noqa: E402  (the repository's root is on no path)

NAME = "registry.local/clients:1"
LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo"}


def pinned() -> list[str]:
    """The clients, at the versions with which the other tests run."""
    lines = (HERE.parent / "requirements.txt").read_text().splitlines()
    return [line for line in lines if re.match(r"(deltalake|polars)==", line)]


def tree(source: Path, target: str) -> list[File]:
    """Every file below a folder but what no client imports."""
    files = []
    for folder, names, here in os.walk(source):
        names[:] = sorted(n for n in names if n not in LEFT_OUT and not n.startswith("config-"))
        for name in sorted(here):
            path = Path(folder) / name
            if path.is_file() and path.suffix not in (".pyc", ".a"):
                files.append(File(f"{target}/{path.relative_to(source)}", path.resolve(), mode=0o755 if path.suffix == ".so" else 0o644))
    return files


def libraries(programs: list[Path]) -> list[File]:
    """The shared libraries of all programs, at the places where their loader looks for them."""
    out = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    paths = sorted({m for m in re.findall(r"(/\S+) \(0x", out)})
    return [File(path, Path(path).resolve()) for path in paths]


def build() -> Path:
    """The archive, made when it is missing or its packages changed."""
    with making():
        return _build()


def _build() -> Path:
    folder = cache() / "clients"
    out = cache() / "images" / "clients.tar"
    stamp = "\n".join([*pinned(), sys.version, Path(__file__).read_text()])
    if out.exists() and (folder / "stamp").exists() and (folder / "stamp").read_text() == stamp:
        return out
    shutil.rmtree(folder, ignore_errors=True)
    site = folder / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile",
         "--target", site, *pinned()],
        check=True,
    )  # fmt: skip
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Path(sys.executable).resolve()
    files = [
        File("/usr/local/bin/python3", interpreter),
        File("/etc/passwd", content=b"nonroot:x:65532:65532::/tmp:/bin/false\n", mode=0o644),
        File("/etc/nsswitch.conf", content=b"hosts: files dns\n", mode=0o644),
        # Clients that use TLS look for these even when they speak to a plain endpoint.
        File("/etc/ssl/certs/ca-certificates.crt", Path("/etc/ssl/certs/ca-certificates.crt"), mode=0o644),
        *tree(Path(sysconfig.get_paths()["stdlib"]), f"/usr/local/lib/{version}"),
        *tree(site, "/site"),
    ]
    shared = [f.source for f in files if f.source and (f.target.endswith(".so") or f.source == interpreter)]
    files += libraries([path for path in shared if path])
    out.parent.mkdir(parents=True, exist_ok=True)
    archive(
        [
            Image(
                NAME,
                list({f.target: f for f in files}.values()),
                entrypoint=["/usr/local/bin/python3"],
                environment={"PYTHONHOME": "/usr/local", "PYTHONPATH": "/site", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"},
                user="65532:65532",
                compression=1,
            )
        ],
        out,
    )
    (folder / "stamp").write_text(stamp)
    return out
