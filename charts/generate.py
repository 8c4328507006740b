#!/usr/bin/env python3
"""Makes what in charts/vdt is made: README.md from values.yaml, and copies of the CustomResourceDefinitions, dashboards
and rules, which a chart must hold itself. `--check` changes nothing and fails where something would change; it also
compares the names in values.yaml with those in values.schema.json.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "vdt"
COPIES = {  # from the repository: into the chart
    "crds/*.yaml": "files/crds",
    "deploy/monitoring/*.json": "files/dashboards",
    "deploy/monitoring/*.yaml": "files/rules",
}
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):(?: (?P<value>.*))?$")


@dataclass
class Value:
    path: str
    default: str
    text: str


def values(text: str) -> list[Value]:
    """The documented leaves of values.yaml, in its order.

    Raises `SystemExit` for a leaf without a `# --` line, or one that takes several lines.
    """
    found: list[Value] = []
    above: list[tuple[int, str]] = []
    said = None
    for number, line in enumerate(text.splitlines(), 1):
        if comment := re.match(r"^ *# -- (.*)$", line):
            said = comment[1]
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = KEY.match(line)
        if not key:
            raise SystemExit(f"values.yaml:{number}: neither a key nor a comment; leaves take one line")
        depth = len(key["indent"])
        above = [(d, k) for d, k in above if d < depth]
        path = ".".join([k for _, k in above] + [key["key"]])
        if key["value"] is None:
            above.append((depth, key["key"]))
            continue
        if said is None:
            raise SystemExit(f"values.yaml:{number}: {path} has no line `# -- what it is`")
        found.append(Value(path, key["value"], said))
        said = None
    return found


def schema_paths(schema: dict, prefix: str = "") -> set[str]:
    """The paths of the schema down to where values.yaml has leaves: references and lists are leaves."""
    paths: set[str] = set()
    for name, each in schema["properties"].items():
        if "$ref" in each:
            each = SCHEMA["$defs"][each["$ref"].rsplit("/", 1)[1]]
        if "properties" in each and f"{prefix}{name}" not in LEAVES:
            paths |= schema_paths(each, f"{prefix}{name}.")
        else:
            paths.add(f"{prefix}{name}")
    return paths


def open_objects(schema: object, path: str = "") -> list[str]:
    """Objects of the schema that take any name: a typo would pass there."""
    found = []
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            found.append(path or "the top")
        for key, each in schema.items():
            found += open_objects(each, f"{path}.{key}")
    elif isinstance(schema, list):
        for key, each in enumerate(schema):
            found += open_objects(each, f"{path}[{key}]")
    return found


def readme(leaves: list[Value]) -> str:
    head = (ROOT / "charts" / "README.head.md").read_text()
    rows = ["| value | default | what it is |", "|---|---|---|"]
    for each in leaves:
        cell = each.default.replace("|", "\\|")
        rows.append(f"| `{each.path}` | `{cell}` | {each.text.replace('|', chr(92) + '|')} |")
    return head + "\n".join(rows) + "\n"


def wanted(leaves: list[Value]) -> dict[Path, bytes]:
    """Every generated file with its content."""
    files = {CHART / "README.md": readme(leaves).encode()}
    for pattern, target in COPIES.items():
        for source in sorted(ROOT.glob(pattern)):
            files[CHART / target / source.name] = source.read_bytes()
    return files


def main(check: bool) -> int:
    leaves = values((CHART / "values.yaml").read_text())
    LEAVES.update(v.path for v in leaves)
    problems = [f"values.schema.json: {p} takes any name" for p in open_objects(SCHEMA)]
    known = schema_paths(SCHEMA) - {"global"}
    problems += [f"values.schema.json lacks {p}" for p in sorted(LEAVES - known)]
    problems += [f"values.yaml lacks {p}" for p in sorted(known - LEAVES)]

    files = wanted(leaves)
    present = {p for target in COPIES.values() for p in (CHART / target).glob("*") if p.is_file()}
    for path in sorted(present - set(files)):
        if check:
            problems.append(f"{path.relative_to(ROOT)} has no original any more")
        else:
            path.unlink()
    for path, content in files.items():
        if path.exists() and path.read_bytes() == content:
            continue
        if check:
            problems.append(f"{path.relative_to(ROOT)} is not what charts/generate.py makes")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for problem in problems:
        print(f"charts: {problem}", file=sys.stderr)
    return 1 if problems else 0


SCHEMA = json.loads((CHART / "values.schema.json").read_text())
LEAVES: set[str] = set()

if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
