"""What operators of these tests may complain of, and why."""

from lib.complaints import Expected

EXPECTED = [
    Expected("", "because it is being terminated", "the namespace of the test before is still on its way out, with its tables"),
    Expected("c36_", "deleted a cache whose node is gone", "that is what is tested"),
]
