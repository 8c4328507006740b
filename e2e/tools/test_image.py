"""What `image/build.py` makes of `image/Containerfile`, from stand-ins of the binaries: compiling those that ship takes longer than all tests."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"server": "vdt", "sidecar": "vdt-sidecar", "operator": "vdt-operator"}
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def static(name: str) -> bytes:
    """The head of an ELF file of 64 bits without a program, and so without a loader."""
    return b"\x7fELF\x02\x01\x01".ljust(64, b"\0") + name.encode()


def dynamic() -> bytes:
    """One that asks for a loader."""
    loader = b"/lib64/ld-linux-x86-64.so.2\0"
    head = bytearray(b"\x7fELF\x02\x01\x01".ljust(64, b"\0"))
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<HH", head, 54, 56, 1)
    return bytes(head) + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader), len(loader), 1) + loader


def build(binaries: Path, out: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "image" / "build.py", "--binaries", binaries, "--out", out, "--prefix", "registry.test/", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Archive:
    """An OCI archive, read as a runtime does it: from the index by digests."""

    def __init__(self, file: Path):
        with tarfile.open(file) as tar:
            self.content = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
        (self.top,) = json.loads(self.content["index.json"])["manifests"]
        self.manifest = json.loads(self.blob(self.top))
        self.config = json.loads(self.blob(self.manifest["config"]))
        (layer,) = self.manifest["layers"]
        self.layer = tarfile.open(fileobj=io.BytesIO(self.blob(layer)), mode="r:gz")

    def blob(self, descriptor: dict) -> bytes:
        data = self.content["blobs/" + descriptor["digest"].replace(":", "/")]
        assert len(data) == descriptor["size"]
        assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
        return data

    def read(self, path: str) -> bytes:
        return self.layer.extractfile(path).read()


@pytest.fixture(scope="module")
def binaries(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("binaries")
    for name in PROGRAMS.values():
        (folder / name).write_bytes(static(name))
    return folder


@pytest.fixture(scope="module")
def built(binaries, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("images")
    made = build(binaries, out)
    assert made.returncode == 0, made.stderr
    return out


@pytest.fixture(params=PROGRAMS)
def image(request, built) -> tuple[str, Archive]:
    return PROGRAMS[request.param], Archive(built / f"vdt-{request.param}.tar")


def test_an_image_holds_its_program_and_nothing_that_is_not_said(image):
    program, archive = image
    files = {entry.name: entry for entry in archive.layer if not entry.isdir()}
    assert set(files) == {
        "etc/ssl/certs/ca-certificates.crt", "etc/passwd", "etc/nsswitch.conf", "usr/share/licenses/vdt/LICENSE",
        f"usr/share/sbom/{program}.cdx.json", f"usr/bin/{program}",
    }  # fmt: skip
    assert archive.read(f"usr/bin/{program}") == static(program)
    assert files[f"usr/bin/{program}"].mode == 0o755
    assert {entry.mode for name, entry in files.items() if name != f"usr/bin/{program}"} == {0o644}
    assert archive.read("usr/share/licenses/vdt/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_it_runs_as_a_user_that_has_a_name_and_writes_to_tmp_only(image):
    program, archive = image
    user, group = archive.config["config"]["User"].split(":")
    assert user == group == "65532"
    assert any(line.split(":")[2:4] == [user, group] for line in archive.read("etc/passwd").decode().splitlines())
    assert {entry.name for entry in archive.layer if entry.mode & 0o022} == {"tmp"}
    assert archive.layer.getmember("tmp").mode == 0o1777
    assert {(entry.uid, entry.gid) for entry in archive.layer} == {(0, 0)}
    assert archive.config["config"]["Entrypoint"] == [f"/usr/bin/{program}"]


def test_labels_say_of_which_version_and_commit_it_is(image):
    _, archive = image
    labels = archive.config["config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    # Only of a tree that is just the commit.
    if revision := labels.get("org.opencontainers.image.revision"):
        assert re.fullmatch("[0-9a-f]{40}", revision)
    assert archive.top["annotations"]["io.containerd.image.name"].endswith(f":{VERSION}")
    assert "$" not in json.dumps(labels)


def test_the_bill_of_materials_is_valid_and_whole(image):
    program, archive = image
    text = archive.read(f"usr/share/sbom/{program}.cdx.json").decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (program, VERSION)
    known = {one["bom-ref"] for one in [bill["metadata"]["component"], *bill["components"]]}
    assert len(known) == 1 + len(bill["components"])
    assert {one["ref"] for one in bill["dependencies"]} == known
    assert {ref for one in bill["dependencies"] for ref in one["dependsOn"]} <= known
    foreign = [one for one in bill["components"] if not one["name"].startswith("vdt-")]
    assert "tokio" in {one["name"] for one in foreign}
    assert [one["name"] for one in foreign if not one.get("licenses") or not one.get("hashes")] == []


def test_the_same_files_give_the_same_images_and_their_sums_stand_beside_them(binaries, built, tmp_path):
    assert build(binaries, tmp_path).returncode == 0
    sums = (built / "SHA256SUMS").read_text()
    assert (tmp_path / "SHA256SUMS").read_text() == sums
    told = dict(reversed(line.split()) for line in sums.splitlines())
    assert told == {f"vdt-{name}.tar": hashlib.sha256((built / f"vdt-{name}.tar").read_bytes()).hexdigest() for name in PROGRAMS}
    assert {file.name for file in built.glob("*.cdx.json")} == {f"{program}.cdx.json" for program in PROGRAMS.values()}


def test_a_program_that_asks_for_a_loader_is_refused(tmp_path):
    (tmp_path / "vdt-operator").write_bytes(dynamic())
    refused = build(tmp_path, tmp_path / "out", "operator")
    assert refused.returncode != 0
    assert "linked dynamically" in refused.stderr


def test_the_containerfile_says_the_version_of_the_workspace_and_makes_what_an_engine_copies():
    text = (ROOT / "image" / "Containerfile").read_text()
    assert re.findall(r"^ARG VERSION=(\S*)$", text, re.MULTILINE) == [VERSION]
    # What build.py adds by itself, an engine has from the build stage.
    assert "mkdir -m 1777 /out/root/tmp" in text
    stages = re.split(r"^FROM scratch AS ", text, flags=re.MULTILINE)[1:]
    assert [stage.split()[0] for stage in stages] == list(PROGRAMS)
    for stage in stages:
        for line in ("ARG VERSION", "ARG REVISION", "COPY --from=build /out/root/ /", "USER 65532:65532"):
            assert f"\n{line}\n" in stage
        for name, argument in (("version", "VERSION"), ("revision", "REVISION")):
            assert f'org.opencontainers.image.{name}="${argument}"' in stage
