#!/usr/bin/env python3
"""Writes what a binary is made of as a CycloneDX 1.6 document, from `cargo metadata` and Cargo.lock.

Only what is linked into the binary for the target: normal dependencies with the features in use; no build scripts, no
tests. Same lock file, same document: its serial number is a hash of its content, and it bears no time.

    image/sbom.py vdt-operator [--target x86_64-unknown-linux-gnu]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = "registry+"


def metadata(target: str) -> dict:
    out = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target],
        cwd=ROOT, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return json.loads(out.stdout)


def checksums() -> dict[tuple[str, str], str]:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def linked(graph: dict, root: str) -> dict[str, list[str]]:
    """The packages that are linked into `root`, each with those it needs."""
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    found: dict[str, list[str]] = {}
    ahead = [root]
    while ahead:
        each = ahead.pop()
        if each in found:
            continue
        needs = [d["pkg"] for d in nodes[each]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
        found[each] = sorted(needs)
        ahead += needs
    return found


def component(package: dict, sums: dict[tuple[str, str], str]) -> dict:
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    made: dict = {"type": "library", "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl}
    if package["license"]:
        # Old manifests separate alternatives by a slash.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := sums.get((package["name"], package["version"])):
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


def document(name: str, target: str) -> dict:
    """The document of the workspace's package `name`.

    Raises `SystemExit` when the workspace has no such package.
    """
    graph = metadata(target)
    packages = {p["id"]: p for p in graph["packages"]}
    root = next((p["id"] for p in graph["packages"] if p["name"] == name and p["id"] in graph["workspace_members"]), None)
    if root is None:
        raise SystemExit(f"sbom: the workspace has no package {name}")
    sums = checksums()
    needs = linked(graph, root)
    components = {each: component(packages[each], sums) for each in needs}
    subject = components.pop(root) | {"type": "application"}
    references = {each: f"pkg:cargo/{packages[each]['name']}@{packages[each]['version']}" for each in needs}
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject, "properties": [{"name": "target", "value": target}]},
        "components": sorted(components.values(), key=lambda c: c["bom-ref"]),
        "dependencies": sorted(
            ({"ref": references[each], "dependsOn": sorted({references[n] for n in of})} for each, of in needs.items()),
            key=lambda d: d["ref"],
        ),
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "serialNumber": f"urn:uuid:{serial}"} | body


def main() -> int:
    parser = argparse.ArgumentParser(description="A CycloneDX document of a package of the workspace.")
    parser.add_argument("package")
    parser.add_argument("--target", default="x86_64-unknown-linux-gnu")
    given = parser.parse_args()
    json.dump(document(given.package, given.target), sys.stdout, indent=1, sort_keys=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
