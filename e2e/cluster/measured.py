"""Times that were measured on the way, told at the end of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

ARTIFACTS = Path(os.environ.get("E2E_ARTIFACTS") or Path(__file__).resolve().parents[2] / "target" / "e2e")
"""Where what a run leaves is kept: its numbers, and what explains a failure."""

LATE = 3
"""How many times its aim something may take, unless its test says otherwise."""


class Numbers:
    """What was measured in this run, with its aim; printed at the end and kept as JSON."""

    def __init__(self):
        self.found: dict[str, dict] = {}
        self.readers: dict[str, dict] = {}

    def add(self, name: str, seconds: float, aim: float, *, most: float | None = None) -> None:
        """Remembers one of several. What misses its aim is told as late and fails nothing: a machine may be slow. What takes longer than `most`,
        unless given LATE times its aim, fails the test: that is no noise."""
        known = self.found.setdefault(name, {"aim": aim, "seconds": []})
        known["seconds"].append(round(seconds, 2))
        most = LATE * aim if most is None else most
        assert seconds <= most, f"{name}: {seconds:.2f} s, the aim is {aim:g} s and {most:g} s are the most"

    def read(self, found: dict) -> None:
        """Remembers what the readers of the running test met."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].partition(" ")[0]
        self.readers[test] = {name: round(value, 2) for name, value in found.items() if name != "failures"}

    def tell(self, reporter) -> None:
        if self.readers:
            reporter.section("readers")
            reporter.write_line(f"{'reads':>8}{'failed':>8}{'lost':>6}{'wrong':>6}{'anew':>6}{'slowest':>9}{'gap':>7}  test")
            for test, one in self.readers.items():
                counts = f"{one['reads']:>8}{one['failed']:>8}{one['lost']:>6}{one['wrong']:>6}{one['reconnects']:>6}"
                reporter.write_line(f"{counts}{one['slowest']:>7} s{one['longest_gap']:>5} s  {test.removeprefix('test_')}")
        if not self.found:
            return
        reporter.section("numbers")
        reporter.write_line(f"{'measure':<44}{'aim':>8}{'median':>10}{'worst':>10}{'n':>4}")
        for name, found in self.found.items():
            seconds = sorted(found["seconds"])
            late = "  late" if seconds[-1] > found["aim"] else ""
            reporter.write_line(
                f"{name:<44}{found['aim']:>6} s{seconds[len(seconds) // 2]:>8} s{seconds[-1]:>8} s{len(seconds):>4}{late}"
            )
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        (ARTIFACTS / "numbers.json").write_text(json.dumps({"seconds": self.found, "readers": self.readers}, indent=1) + "\n")


NUMBERS = Numbers()
"""Those of this run."""
