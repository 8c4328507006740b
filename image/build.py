#!/usr/bin/env python3
"""Builds the images of image/Containerfile without a container engine, as OCI archives with a SHA256SUMS beside them.

The build stage becomes a `cargo build` on this machine; of the last stages this reads what they copy and declare, so
the Containerfile stays the one description. What it cannot do like an engine it refuses.

    image/build.py                                         target/images/vdt-{server,sidecar,operator}.tar
    image/build.py --arch amd64 --arch arm64 operator      one archive for both
    image/build.py --binaries target/debug --with-libraries   from binaries that exist, with the C library they need

podman load -i, skopeo copy oci-archive:, ctr images import and crane push take the archives.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from image import oci, sbom  # noqa: E402  (the repository's root is on no path)

CONTAINERFILE = ROOT / "image" / "Containerfile"
TARGETS = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
CERTIFICATES = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))


class Unreadable(Exception):
    """The Containerfile says something that this builder does not do."""


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage that starts from scratch, by its name."""
    text = CONTAINERFILE.read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] | None = None
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            match = re.fullmatch(r"scratch AS (\S+)", rest)
            current = found.setdefault(match[1], []) if match else None
        elif current is not None:
            current.append((word, rest.strip()))
    return found


def interpreter(program: Path) -> str | None:
    """The dynamic loader that an ELF file of 64 bits asks for; None for a static one."""
    with program.open("rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            raise SystemExit(f"images: {program} is not a 64-bit ELF file")
        (table,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        for i in range(count):
            file.seek(table + i * size)
            kind, _, offset, _, _, length = struct.unpack("<IIQQQQ", file.read(40))
            if kind == 3:  # PT_INTERP
                file.seek(offset)
                return file.read(length).rstrip(b"\0").decode()
    return None


def libraries(program: Path) -> list[oci.File]:
    """The shared libraries of a dynamic program, with its loader, where it looks for them."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = {m for m in re.findall(r"(/\S+) \(0x", out)}
    return [oci.File(path, Path(path).resolve()) for path in sorted(paths)]


class Builder:
    """One run: where binaries come from, and where archives go."""

    def __init__(self, given: argparse.Namespace):
        self.given = given
        self.version = version()
        self.arguments = {"VERSION": self.version, "REVISION": git_revision() or ""}
        """What an engine is given by --build-arg, or finds as a default."""

    def binary(self, name: str, arch: str) -> Path:
        if self.given.binaries:
            return self.given.binaries / name
        target = TARGETS[arch]
        folder = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
        return folder / target / "release" / name

    def compile(self, names: list[str], arch: str) -> None:
        target = TARGETS[arch]
        flags = f"CARGO_TARGET_{target.upper().replace('-', '_')}_RUSTFLAGS"
        bins = [part for name in names for part in ("--bin", name)]
        subprocess.run(
            ["cargo", "build", "--locked", "--release", "--target", target, *bins],
            cwd=ROOT, env=os.environ | {flags: "-C target-feature=+crt-static"}, check=True,
        )  # fmt: skip

    def source(self, inside: str, arch: str) -> oci.File:
        """What `COPY --from=build` finds at a path of the build stage."""
        if inside.endswith("/ca-certificates.crt"):
            return oci.File("", CERTIFICATES, mode=0o644)
        if inside.startswith("/src/"):
            return oci.File("", ROOT / inside.removeprefix("/src/"), mode=0o644)
        if match := re.fullmatch(r"/out/(\S+)\.cdx\.json", inside):
            document = sbom.document(match[1], TARGETS[arch])
            return oci.File("", content=json.dumps(document, indent=1, sort_keys=True).encode() + b"\n", mode=0o644)
        if match := re.fullmatch(r"/out/([a-z-]+)", inside):
            return oci.File("", self.binary(match[1], arch))
        raise Unreadable(f"COPY --from=build {inside}")

    def image(self, name: str, instructions: list[tuple[str, str]], arch: str) -> oci.Image:
        made = oci.Image(f"{self.given.prefix}vdt-{name}:{self.given.tag or self.version}", [], architecture=arch)
        for word, rest in instructions:
            match word:
                case "COPY":
                    parts = shlex.split(rest)
                    if len(parts) != 3 or parts[0] != "--from=build":
                        raise Unreadable(f"COPY {rest}")
                    if parts[1:] == ["/out/root/", "/"]:
                        continue  # /tmp, which every layer of oci.py has
                    file = self.source(parts[1], arch)
                    file.target = parts[2]
                    made.files.append(file)
                case "ARG":
                    if rest not in self.arguments:
                        raise Unreadable(f"ARG {rest}")
                case "LABEL":
                    pairs = dict(self.filled(pair).split("=", 1) for pair in shlex.split(rest))
                    made.labels |= {name: value for name, value in pairs.items() if value}
                case "ENV":
                    made.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
                case "EXPOSE":
                    made.ports += rest.split()
                case "USER":
                    made.user = rest
                case "ENTRYPOINT":
                    made.entrypoint = json.loads(rest)
                case "CMD":
                    made.command = json.loads(rest)
                case _:
                    raise Unreadable(f"{word} {rest}")
        self.check(made)
        return made

    def filled(self, text: str) -> str:
        """With the arguments in their places."""

        def value(match: re.Match[str]) -> str:
            if match[1] not in self.arguments:
                raise Unreadable(f"${match[1]}")
            return self.arguments[match[1]]

        return re.sub(r"\$(\w+)", value, text)

    def check(self, image: oci.Image) -> None:
        """A from-scratch image holds no loader: a dynamic program in it would not start."""
        for file in list(image.files):
            if file.source is None or not file.target.startswith("/usr/bin/"):
                continue
            if not file.source.exists():
                raise SystemExit(f"images: {file.source} is missing")
            if interpreter(file.source) is None:
                continue
            if not self.given.with_libraries:
                raise SystemExit(
                    f"images: {file.source} is linked dynamically and the image holds no libraries; "
                    "build it with -C target-feature=+crt-static, or give --with-libraries"
                )
            image.files += libraries(file.source)


def version() -> str:
    text = (ROOT / "Cargo.toml").read_text()
    match = re.search(r'^\[workspace\.package\]\nversion = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise SystemExit("images: Cargo.toml names no workspace version")
    return match[1]


def git_revision() -> str | None:
    """The commit, only where the tree is just that."""
    git = ["git", "-C", str(ROOT)]
    dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    if dirty.returncode != 0 or dirty.stdout.strip():
        return None
    return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    known = stages()
    parser = argparse.ArgumentParser(description="Builds images without a container engine.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(known)}; all unless given")
    parser.add_argument("--arch", action="append", choices=TARGETS, help="repeatable; this machine's unless given")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "images")
    parser.add_argument("--prefix", default="", help="before the names: registry.example/path/")
    parser.add_argument("--tag", help="the workspace's version unless given")
    parser.add_argument("--binaries", type=Path, help="a folder of binaries that exist, instead of building them")
    parser.add_argument("--with-libraries", action="store_true", help="put in the libraries of dynamic binaries (tests)")
    given = parser.parse_args()
    if unknown := set(given.images) - set(known):
        parser.error(f"no such image: {', '.join(sorted(unknown))}")
    names = given.images or list(known)
    arches = given.arch or [{"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]]
    if given.binaries and len(arches) > 1:
        parser.error("--binaries are of one architecture")

    builder = Builder(given)
    if not given.binaries:
        programs = sorted({Path(json.loads(dict(known[name])["ENTRYPOINT"])[0]).name for name in names})
        for arch in arches:
            builder.compile(programs, arch)
    given.out.mkdir(parents=True, exist_ok=True)
    sums = []
    for name in names:
        out = given.out / f"vdt-{name}.tar"
        images = [builder.image(name, known[name], arch) for arch in arches]
        digest = oci.archive(images, out)
        print(f"{out}  {images[0].name}  {digest}  {out.stat().st_size / 1e6:.1f} MB")
        sums.append(f"{hashlib.sha256(out.read_bytes()).hexdigest()}  {out.name}\n")
        for file in images[0].files:
            if file.target.endswith(".cdx.json"):
                (given.out / Path(file.target).name).write_bytes(file.read())
    (given.out / "SHA256SUMS").write_text("".join(sums))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unreadable as error:
        sys.exit(f"images: image/build.py does not know how to do what image/Containerfile says: {error}")
