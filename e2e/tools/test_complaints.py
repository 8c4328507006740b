"""Which lines of a log are complaints, and which of them are expected."""

from __future__ import annotations

import pytest
from lib.complaints import Expected, complaints, is_complaint


@pytest.mark.parametrize(
    "line, complains",
    [
        ('{"timestamp":"2026-11-29T22:00:00.000000Z","level":"WARN","message":"cannot renew the lease"}', True),
        ('{"timestamp":"2026-11-29T22:00:00.000000Z","level":"INFO","message":"WARN is a word"}', False),
        ("2026-11-29T22:00:00.000000Z  WARN vdt_sidecar::link: the server is away", True),
        ("2026-11-29T22:00:00.000000Z ERROR vdt_store: not served", True),
        ("2026-11-29T22:00:00.000000Z  INFO vdt_store: an ERROR was mended", False),
        ("thread 'main' panicked at src/main.rs:1:1:", True),
        ("thread 'tokio-rt-worker' (17) panicked at src/main.rs:1:1:", True),
        ("{not JSON", False),
        ("", False),
    ],
)
def test_what_a_complaint_is(line, complains):
    assert is_complaint(line) is complains


def test_a_complaint_is_expected_of_its_test_only():
    lines = ["2026-11-29T22:00:00Z  WARN a: the lease is lost", "2026-11-29T22:00:00Z  WARN a: the disk is full"]
    expected = [Expected("b25_", "the lease", "it is cut off")]
    assert complaints("b25_cut_off", lines, expected) == lines[1:]
    assert complaints("b17_drift", lines, expected) == lines
