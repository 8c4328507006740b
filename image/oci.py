"""Writes images without a container engine: an OCI image layout, as a folder or a tar archive, from files.

Same files, same bytes: no clock, no user, sorted entries, so an image has the same digest wherever it is built.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class File:
    """A file of the image: from `source`, or with `content`."""

    target: str
    source: Path | None = None
    content: bytes | None = None
    mode: int = 0o755

    def read(self) -> bytes:
        if self.content is not None:
            return self.content
        if self.source is None:
            raise ValueError(f"{self.target}: neither a source nor content")
        return self.source.read_bytes()


@dataclass
class Image:
    """What a Containerfile says, for one platform."""

    name: str
    """With its tag: registry/path:tag."""
    files: list[File]
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic links: where to what."""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    user: str = ""
    ports: list[str] = field(default_factory=list)
    architecture: str = "amd64"
    created: str = "1970-01-01T00:00:00Z"
    compression: int = 6
    """Of the layer, 1 (quick) to 9."""


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(image: Image) -> bytes:
    """The one layer, uncompressed: /tmp for programs that need it, the folders, the files, the links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made: set[str] = set()

        def folder(path: str) -> None:
            if path in ("", "/") or path in made:
                return
            folder(os.path.dirname(path))
            made.add(path)
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path == "/tmp" else 0o755
            tar.addfile(entry)

        folder("/tmp")
        for file in sorted(image.files, key=lambda f: f.target):
            folder(os.path.dirname(file.target))
            data = file.read()
            entry = tarfile.TarInfo(file.target.lstrip("/"))
            entry.size, entry.mode = len(data), file.mode
            tar.addfile(entry, io.BytesIO(data))
        for link, target in sorted(image.links.items()):
            folder(os.path.dirname(link))
            entry = tarfile.TarInfo(link.lstrip("/"))
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
    return buffer.getvalue()


def encode(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def blobs(image: Image) -> tuple[dict, dict[str, bytes]]:
    """The descriptor of the image's manifest, and every blob by its digest."""
    plain = layer(image)
    packed = gzip.compress(plain, compresslevel=image.compression, mtime=0)
    config = encode(
        {
            "architecture": image.architecture,
            "os": "linux",
            "created": image.created,
            "config": {
                key: value
                for key, value in {
                    "User": image.user,
                    "Entrypoint": image.entrypoint,
                    "Cmd": image.command,
                    "Env": [f"{k}={v}" for k, v in sorted(({"PATH": "/usr/bin:/bin"} | image.environment).items())],
                    "Labels": image.labels,
                    "ExposedPorts": {port: {} for port in image.ports},
                    "WorkingDir": "/",
                }.items()
                if value
            },
            "rootfs": {"type": "layers", "diff_ids": [sha(plain)]},
            "history": [{"created": image.created, "created_by": "image/build.py"}],
        }
    )
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": sha(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": sha(packed), "size": len(packed)}],
            "annotations": {k: v for k, v in image.labels.items() if k.startswith("org.opencontainers.")},
        }
    )
    descriptor = {
        "mediaType": MANIFEST,
        "digest": sha(manifest),
        "size": len(manifest),
        "platform": {"architecture": image.architecture, "os": "linux"},
    }
    return descriptor, {sha(b): b for b in (config, packed, manifest)}


def archive(images: list[Image], out: Path) -> str:
    """Writes an OCI archive with one image, for one or more platforms, and returns its digest.

    One platform: the digest of the image's manifest. Several, all of one name: an index of them, and its digest.
    """
    name = images[0].name
    content: dict[str, bytes] = {}
    descriptors = []
    for image in images:
        descriptor, parts = blobs(image)
        descriptors.append(descriptor)
        content |= parts
    if len(descriptors) == 1:
        top = dict(descriptors[0])
    else:
        index = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors})
        content[sha(index)] = index
        top = {"mediaType": INDEX, "digest": sha(index), "size": len(index)}
    digest = top["digest"]
    top["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1],
    }
    with tarfile.open(out, "w") as tar:

        def put(path: str, data: bytes) -> None:
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))

        put("oci-layout", LAYOUT)
        put("index.json", encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}))
        for each in sorted(content):
            put(f"blobs/{each.replace(':', '/')}", content[each])
    return digest
