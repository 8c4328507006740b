"""What `e2e/all.sh` runs once more: failed tests that are marked for it, where nothing else failed."""

from __future__ import annotations

import pytest
from lib.contended import FILE

pytest_plugins = ["pytester"]

TESTS = {
    "late": "@pytest.mark.contended(reason='a second')\ndef test_late(): assert False",
    "wrong": "def test_wrong(): assert False",
    "worse": "@pytest.mark.parametrize('one', [1, 2, 3])\ndef test_worse(one): assert False",
    "good": "@pytest.mark.contended(reason='a second')\ndef test_good(): pass",
    "warned": (
        "from lib.complaints import fail\n\n@pytest.fixture\ndef logs(request):\n    yield\n"
        "    fail({'logs': ['2026-11-29T22:00:00Z  WARN a: b']}, {'logs': request.node.nodeid})\n\ndef test_warned(logs): pass"
    ),
    "read": "@pytest.fixture\ndef readers(): pass\n\ndef test_read(readers): assert 'wrong' == 0",
    "waited": "@pytest.fixture\ndef clients_image(): pass\n\ndef test_waited(clients_image): raise TimeoutError('not within 60 s')",
    "setup": "@pytest.mark.contended(reason='a second')\ndef test_setup(absent): pass",
}


def again(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    kept = pytester.path / "kept"
    monkeypatch.setenv("E2E_ARTIFACTS", str(kept))
    pytester.makepyfile(test_some="import pytest\n\n" + "\n\n".join(TESTS[name] for name in names))
    pytester.runpytest_inprocess("-p", "lib.contended", "-p", "no:cacheprovider")
    return (kept / FILE).read_text().splitlines() if (kept / FILE).exists() else []


def test_what_is_marked_is_run_once_more(pytester, monkeypatch):
    assert again(pytester, monkeypatch, "good", "late") == ["test_some.py::test_late"]


def test_of_those_that_are_not_marked_a_few_are(pytester, monkeypatch):
    assert again(pytester, monkeypatch, "late", "wrong") == ["test_some.py::test_late", "test_some.py::test_wrong"]


def test_what_complains_of_the_unexpected_is(pytester, monkeypatch):
    assert again(pytester, monkeypatch, "good", "warned") == ["test_some.py::test_warned"]


def test_of_reads_only_those_that_waited_in_vain_are(pytester, monkeypatch):
    assert again(pytester, monkeypatch, "late", "waited") == ["test_some.py::test_late", "test_some.py::test_waited"]


@pytest.mark.parametrize("other", ["worse", "setup", "read"])
def test_nothing_is_where_something_else_failed_too(pytester, monkeypatch, other):
    assert again(pytester, monkeypatch, "late", other) == []


def test_nothing_is_where_all_passed(pytester, monkeypatch):
    assert again(pytester, monkeypatch, "good") == []


@pytest.mark.parametrize(
    "test",
    [
        "@pytest.mark.contended\ndef test_some(): pass",
        "@pytest.fixture\ndef readers(): pass\n\n@pytest.mark.contended(reason='a second')\ndef test_some(readers): pass",
    ],
    ids=["without a reason", "of reads"],
)
def test_a_mark_without_a_reason_or_of_a_test_of_reads_is_refused(pytester, test):
    pytester.makepyfile(test_some=f"import pytest\n\n{test}")
    found = pytester.runpytest_inprocess("-p", "lib.contended", "-p", "no:cacheprovider")
    assert found.ret == pytest.ExitCode.USAGE_ERROR
