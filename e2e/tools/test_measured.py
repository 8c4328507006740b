"""What is measured by the way of a test: late is told, much too late fails it."""

from __future__ import annotations

import pytest
from cluster.measured import Numbers


def test_what_takes_several_times_its_aim_fails_and_is_told_too():
    numbers = Numbers()
    numbers.add("a pod", 9, 10)
    numbers.add("a pod", 29, 10)
    with pytest.raises(AssertionError, match="a pod: 31.00 s, the aim is 10 s and 30 s are the most"):
        numbers.add("a pod", 31, 10)
    assert numbers.found["a pod"]["seconds"] == [9, 29, 31]


def test_a_test_may_say_itself_what_is_the_most():
    with pytest.raises(AssertionError, match="a lease: 24.00 s"):
        Numbers().add("a lease", 24, 15, most=23)
    Numbers().add("a lease", 22, 15, most=23)
