"""A plugin of pytest: which tests of a suite that failed beside other suites may be run once more by themselves (`e2e/all.sh`).

Those that are marked `@pytest.mark.contended(reason=...)`, because they assert a time of seconds that other suites on the same cores stretch. What a
client read is no matter of time: a test that has readers cannot be marked, and is run once more only where it waited in vain. Of the others at most two: three suites with two clusters on two cores now and
then miss a deadline that nobody foresaw. Unexpected warnings of what runs for a test count as its failure (`lib/complaints.py`). What was repeated is said.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.complaints import Unexpected

READERS = {"readers", "clients_image"}
"""Fixtures of tests whose assertions are about reads."""
UNMARKED_MAX = 2
"""Tests without a mark that may be repeated."""
FILE = "contended"
"""In the folder of what a run leaves: the tests to run once more, a line each. It is there only where nothing else failed."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "contended(reason): asserts a time of seconds, which other suites on the same cores stretch")
    config.pluginmanager.register(Failures(), "contended-failures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("contended"):
            if not mark.kwargs.get("reason") or READERS & set(getattr(item, "fixturenames", ())):
                raise pytest.UsageError(f"{item.nodeid}: contended needs a reason, and tests of reads cannot be")


class Failures:
    """The failed tests of a run."""

    def __init__(self) -> None:
        self.may_be_repeated: list[str] = []
        self.unmarked = 0
        self.others = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if report.failed:
            warned = call.excinfo and isinstance(call.excinfo.value, Unexpected) and call.excinfo.value.tests
            if warned:
                self.may_be_repeated += sorted(warned - set(self.may_be_repeated))
                self.unmarked += len(warned)
            elif report.when == "call" and is_of_time(item, call):
                self.may_be_repeated.append(item.nodeid)
                self.unmarked += item.get_closest_marker("contended") is None
            else:
                self.others += 1
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.others += report.failed

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        folder = os.environ.get("E2E_ARTIFACTS")
        # Interrupted, or an error of pytest itself: nobody knows what the rest would have said.
        if folder and exitstatus == pytest.ExitCode.TESTS_FAILED and self.may_be_repeated and not self.others and self.unmarked <= UNMARKED_MAX:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / FILE).write_text("".join(f"{name}\n" for name in self.may_be_repeated))


def is_of_time(item: pytest.Item, call: pytest.CallInfo) -> bool:
    """Whether a failure may come of a slow machine. What a client read does not."""
    has_readers = READERS & set(getattr(item, "fixturenames", ()))
    return not has_readers or call.excinfo is not None and call.excinfo.errisinstance(TimeoutError)
