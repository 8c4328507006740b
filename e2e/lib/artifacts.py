"""Artifacts to serve: real PDFs, keys of every odd kind, and their hashes. All of it is made by code or ships with us."""

import hashlib
import os
import random
import time
from pathlib import Path

from .vdt import REPOSITORY

PAPERS = REPOSITORY / "examples" / "papers"
# Nothing that a test serves is younger than settleSeconds, unless the test is about that.
SETTLED_SECONDS = 3600


def sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its path relative to it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write_file(path: Path, data: bytes, age_seconds: float = SETTLED_SECONDS):
    """Writes a file that was last changed some time ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    settle(path, age_seconds)


def settle(path: Path, age_seconds: float = SETTLED_SECONDS):
    then = time.time() - age_seconds
    os.utime(path, (then, then))


def write_folder(folder: Path, files: dict[str, bytes]):
    for name, data in files.items():
        write_file(folder / name, data)


def papers() -> dict[str, bytes]:
    """The sample PDFs of this repository."""
    found = read_folder(PAPERS)
    assert found and all(d.startswith(b"%PDF") for d in found.values()), f"no PDFs in {PAPERS}"
    return found


def noise(seed, size: int) -> bytes:
    """`size` incompressible bytes, the same for the same seed."""
    return random.Random(str(seed)).randbytes(size)


ODD_NAMES = [
    "with space.pdf",
    " leading and trailing ",
    "100%.pdf",
    "a%20b.pdf",
    "%2F.pdf",
    "a+b.pdf",
    "a#b.pdf",
    "a?b&c=d.pdf",
    'it\'s "quoted".pdf',
    "ünïcödé/π-Ω.pdf",
    "u\u0308 decomposed.pdf",
    "日本語.pdf",
    "😀.pdf",
    ".hidden",
    ".dir/.hidden.pdf",
    "..two dots",
    "a..b",
    "no extension",
    "UPPER.PDF",
    "~tilde=;,@:!$()*.pdf",
    "<angle>&amp;.pdf",
    "{brace}[bracket]|^`.pdf",
    "a/b/c/d/e/f/g/h/deep.pdf",
    "a.b/c",
    "a/z",
    "long/" + "n" * 200 + ".pdf",
    "/".join(["k" * 200] * 5) + "/" + "k" * 16,  # with its prefix 1,024 bytes, the most that S3 allows
]


def odd(inline_max: int) -> dict[str, bytes]:
    """Objects with a key of every odd kind, zero bytes, and one artifact larger than `inline_max`."""
    objects = {name: f"%PDF-1.4 {name}\n".encode() + noise(name, 50 + 37 * i) for i, name in enumerate(ODD_NAMES)}
    objects["empty.pdf"] = b""
    objects["sub/also empty"] = b""
    objects["exactly inline max.bin"] = noise("at the limit", inline_max)
    objects["over inline max.bin"] = noise("over the limit", inline_max + 1)
    objects["one byte"] = b"x"
    objects |= {f"many/{i:04}.txt": noise(i, 300 + i % 97) for i in range(300)}
    objects |= {f"papers/{name}": data for name, data in papers().items()}
    return objects


def inline(objects: dict[str, bytes], inline_max: int) -> dict[str, bytes | None]:
    """What the `data` column has for these objects."""
    return {k: (d if len(d) <= inline_max else None) for k, d in objects.items()}
