"""What our processes complain of: lines of their logs at WARN and ERROR, and panics. One that nobody expects fails a run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

TEXT = re.compile(r"\d{4}-\d\d-\d\dT\S+Z\s+(WARN|ERROR)\s")
PANIC = re.compile(r"thread '.*' (\(\d+\) )?panicked at ")


@dataclass(frozen=True)
class Expected:
    """A complaint that has a reason."""

    where: str
    """Pattern of the beginning of the test's name, or of its namespace's."""
    says: str
    """Pattern that the line holds."""
    why: str


def is_complaint(line: str) -> bool:
    """Of a log in either format."""
    if line.startswith("{"):
        try:
            return json.loads(line).get("level") in ("WARN", "ERROR")
        except ValueError:
            return False
    return bool(TEXT.match(line) or PANIC.search(line))


def complaints(where: str, lines: Iterable[str], expected: Iterable[Expected]) -> list[str]:
    """Those that nobody expects of what runs for `where`."""
    known = [re.compile(one.says) for one in expected if re.match(one.where, where)]
    return [line for line in lines if is_complaint(line) and not any(pattern.search(line) for pattern in known)]


def fail(found: dict[str, list[str]]) -> None:
    """Fails for unexpected lines, given by where they were written."""
    lines = [f"{where}: {line}" for where, lines in found.items() for line in lines]
    assert not lines, "\n".join(["unexpected lines of logs:", *lines])
