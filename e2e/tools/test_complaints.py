"""Which lines of a log are complaints, and which of them are expected."""

from __future__ import annotations

import pytest
from lib.complaints import Expected, Unexpected, complaints, fail, level


@pytest.mark.parametrize(
    "line, found",
    [
        ('{"timestamp":"2026-11-29T22:00:00.000000Z","level":"WARN","message":"cannot renew the lease"}', "WARN"),
        ('{"timestamp":"2026-11-29T22:00:00.000000Z","level":"INFO","message":"WARN is a word"}', None),
        ("2026-11-29T22:00:00.000000Z  WARN vdt_sidecar::link: the server is away", "WARN"),
        ("2026-11-29T22:00:00.000000Z ERROR vdt_store: not served", "ERROR"),
        ("2026-11-29T22:00:00.000000Z  INFO vdt_store: an ERROR was mended", None),
        ("thread 'main' panicked at src/main.rs:1:1:", "PANIC"),
        ("thread 'tokio-rt-worker' (17) panicked at src/main.rs:1:1:", "PANIC"),
        ("{not JSON", None),
        ("", None),
    ],
)
def test_what_a_complaint_is(line, found):
    assert level(line) == found


def test_a_complaint_is_expected_of_its_test_only():
    lines = ["2026-11-29T22:00:00Z  WARN a: the lease is lost", "2026-11-29T22:00:00Z  WARN a: the disk is full"]
    expected = [Expected("b25_", "the lease", "it is cut off")]
    assert complaints("b25_cut_off", lines, expected) == lines[1:]
    assert complaints("b17_drift", lines, expected) == lines


WARN = "2026-11-29T22:00:00Z  WARN a: the disk is full"
ERROR = "2026-11-29T22:00:00Z ERROR a: the disk is full"


@pytest.mark.parametrize(
    "found, tests",
    [
        ({"one": [WARN], "other": []}, {"test_one"}),
        ({"one": [WARN], "other": [WARN]}, {"test_one", "test_other"}),
        ({"one": [WARN, ERROR]}, set()),
        ({"one": [WARN], "shared": [WARN]}, set()),
    ],
    ids=["one test's", "two tests'", "more than a warning", "nobody's"],
)
def test_warnings_of_what_runs_for_one_test_fail_that_test(found, tests):
    with pytest.raises(Unexpected) as failed:
        fail(found, {"one": "test_one", "other": "test_other"})
    assert failed.value.tests == tests


def test_no_lines_fail_nothing():
    fail({"one": []}, {})
