"""Images of the harness itself, and loading of any image into the nodes. Nothing is pulled: pods find what was loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .node import Node
from .settings import HERE, Settings, cache, making

sys.path.insert(0, str(HERE.parents[1]))

from image.oci import File, Image, archive  # noqa: E402  (the repository's root is on no path)


def own(settings: Settings) -> list[Path]:
    """The archives that a cluster needs to come up, made when they are missing: pause, CoreDNS, busybox."""
    with making():
        return _own(settings)


def _own(settings: Settings) -> list[Path]:
    folder = cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    pause = folder / "pause"
    source = HERE / "harness" / "pause.c"
    if not pause.exists() or pause.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-static", "-Os", "-s", "-o", pause, source], check=True)
    coredns = settings.bin / "coredns"
    box = busybox()
    nobody = File("/etc/passwd", content=b"root:x:0:0::/root:/bin/sh\nnonroot:x:65532:65532::/:/bin/sh\n", mode=0o644)
    images = [
        (pause, Image("registry.local/pause:1", [File("/pause", pause)], entrypoint=["/pause"])),
        (coredns, Image("registry.local/coredns:1", [File("/coredns", coredns)], entrypoint=["/coredns"])),
        (
            box.source,
            Image(
                "registry.local/busybox:1",
                [box, nobody],
                links=applets(box),
                command=["/bin/sh"],
            ),
        ),
    ]
    archives = []
    for program, image in images:
        out = folder / (image.name.split("/")[1].split(":")[0] + ".tar")
        newest = max(program.stat().st_mtime, Path(__file__).stat().st_mtime)
        if not out.exists() or out.stat().st_mtime < newest:
            archive([image], out)
        archives.append(out)
    return archives


def with_shell(name: str, program: Path) -> Path:
    """An archive of a static program beside a shell, as images of other people have it."""
    with making():
        out = cache() / "images" / f"{program.name}.tar"
        if not out.exists() or out.stat().st_mtime < max(program.stat().st_mtime, Path(__file__).stat().st_mtime):
            box = busybox()
            archive([Image(name, [box, File(f"/usr/bin/{program.name}", program)], links=applets(box), compression=1)], out)
        return out


def busybox() -> File:
    return File("/bin/busybox", Path(shutil.which("busybox") or "/bin/busybox"))


def applets(box: File) -> dict[str, str]:
    names = subprocess.run([box.source, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return {f"/bin/{name}": "busybox" for name in names if name != "busybox"}


def load(settings: Settings, nodes: list[Node], archives: list[Path]) -> None:
    """Brings archives into the image stores of the nodes, by tag and by digest (`name@sha256:...`)."""
    folder = settings.work / "images"
    folder.mkdir(exist_ok=True)
    for each in archives:
        # Nodes have a /tmp of their own: what they read must lie below the work folder.
        inside = folder / (hashlib.sha256(str(each).encode()).hexdigest()[:16] + ".tar")
        if not inside.exists() or inside.stat().st_mtime < each.stat().st_mtime:
            shutil.copyfile(each, inside)
        (top,) = index_of(each)
        name = top["annotations"]["io.containerd.image.name"]
        by_digest = f"{name.rsplit(':', 1)[0]}@{top['digest']}"
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: import_on(node, inside, name, by_digest), nodes))  # noqa: B023


def import_on(node: Node, archive: Path, name: str, by_digest: str) -> None:
    ctr = ("ctr", "-n", "k8s.io", "images")
    node.exec(*ctr, "import", archive, capture=True)
    node.exec(*ctr, "tag", "--force", name, by_digest, capture=True)


def index_of(path: Path) -> list[dict]:
    """The entries of an archive's index."""
    text = subprocess.run(["tar", "-xOf", path, "index.json"], capture_output=True, check=True).stdout
    return json.loads(text)["manifests"]
