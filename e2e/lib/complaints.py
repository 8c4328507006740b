"""What our processes complain of: lines of their logs at WARN and ERROR, and panics. One that nobody expects fails a run.

Warnings of what runs for one test are a failure of that test, and under the rule of all that fail beside other suites (`lib/contended.py`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TEXT = re.compile(r"\d{4}-\d\d-\d\dT\S+Z\s+(?P<level>WARN|ERROR)\s")
PANIC = re.compile(r"thread '.*' (\(\d+\) )?panicked at ")


@dataclass(frozen=True)
class Expected:
    """A complaint that has a reason."""

    where: str
    """Pattern of the beginning of the test's name, or of its namespace's."""
    says: str
    """Pattern that the line holds."""
    why: str


class Unexpected(AssertionError):
    """Lines that nobody expects. `tests` are those that they fail, where each is a warning of what ran for one test alone; else there are none."""

    def __init__(self, lines: list[str], tests: set[str]):
        super().__init__("\n".join(["unexpected lines of logs:", *lines]))
        self.tests = tests


def level(line: str) -> str | None:
    """Of a complaint in a log of either format: WARN, ERROR, or PANIC. None of what is none."""
    if line.startswith("{"):
        try:
            found = json.loads(line).get("level")
        except ValueError:
            return None
        return found if found in ("WARN", "ERROR") else None
    if PANIC.search(line):
        return "PANIC"
    text = TEXT.match(line)
    return text["level"] if text else None


def complaints(where: str, lines: Iterable[str], expected: Iterable[Expected]) -> list[str]:
    """Those that nobody expects of what runs for `where`."""
    known = [re.compile(one.says) for one in expected if re.match(one.where, where)]
    return [line for line in lines if level(line) and not any(pattern.search(line) for pattern in known)]


def fail(found: Mapping[str, list[str]], tests: Mapping[str, str]) -> None:
    """Fails for unexpected lines, given by where they were written. `tests`: whose that is, where it is one test's."""
    if not any(found.values()):
        return
    lines = [f"{where}: {line}" for where, lines in found.items() for line in lines]
    wheres = [where for where, lines in found.items() if lines]
    are_warnings = all(level(line) == "WARN" for lines in found.values() for line in lines)
    may_fail_alone = are_warnings and all(where in tests for where in wheres)
    raise Unexpected(lines, {tests[where] for where in wheres} if may_fail_alone else set())
