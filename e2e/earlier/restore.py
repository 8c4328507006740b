"""Objects that an earlier version left in a cluster, put into another one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent

SYSTEM = "vdt-system"
"""Namespace of the operator."""
ADMIN_KEY = "vdt-operator-admin-key"
"""The Secret that the operator has made for itself."""
LEASE = "vdt-operator-leader"
IMAGES = {name: f"registry.local/vdt-{name}:e2e-other" for name in ("server", "sidecar")}
"""Of pods."""

OPERATOR, TABLES = "operator", ("scans", "papers")
"""Parts of a fixture: what the operator has made for itself, and a table with its children each."""
OWNER = "uid-of-the-table"
"""Stands for what no API server gives twice."""

GIVEN = [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket-ro"}, "stringData": {"accessKeyId": "key", "secretAccessKey": "secret"}},
    {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "papers"},
        "spec": {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}},
    },
]  # fmt: skip
"""What the tables refer to and nobody but their user makes."""

Create = Callable[[dict], dict]
"""Creates an object and returns it as it was created."""
Patch = Callable[[dict, dict, str], object]
"""Merges a patch into an object, or into a subresource of it ("" or "status")."""


@dataclass(frozen=True)
class Earlier:
    """A fixture: what a version left."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)
    """What is called otherwise than where it was made. Nothing that a pod template holds can be: its hash stands beside it."""

    @property
    def namespace(self) -> str:
        """Of the tables. The storage class of their caches and the prefix of their objects in buckets have its name, and a Service `s3` in it gives the buckets."""
        return f"e2e-earlier-{self.folder.name}"

    @property
    def chart(self) -> Path:
        return self.folder / "chart"

    @property
    def definition(self) -> Path:
        """The CustomResourceDefinition."""
        return self.chart / "files/crds/virtualtables.vdt.io.yaml"

    def objects(self, part: str) -> list[dict]:
        """Every object of a part, the owner first, and what pods need before them."""
        text = (self.folder / f"{part}.yaml").read_text()
        if self.names:
            text = re.sub("|".join(map(re.escape, self.names)), lambda found: self.names[found[0]], text)
        return list(yaml.safe_load_all(text))

    def restore(self, part: str, create: Create, patch: Patch) -> None:
        """Puts a part there. Who owns which field is told last: whoever creates an object owns all of it."""
        uid = ""
        for one in self.objects(part):
            # By it children know their owner, and a state whose a table is.
            one = json.loads(json.dumps(one).replace(OWNER, uid))
            managed, status = one["metadata"].pop("managedFields"), one.pop("status", None)
            made = create(one)
            uid = uid or made["metadata"]["uid"]
            if status:
                patch(one, {"status": status}, "status")
            patch(one, {"metadata": {"managedFields": managed}}, "")


def fixtures() -> list[Path]:
    """The folders of all."""
    return sorted(found.parent for found in HERE.glob("*/chart"))
