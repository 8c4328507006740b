"""What pods and operators of the cluster's tests may complain of, and why. The tests go by their namespaces, `system-faults` is that of an operator."""

from lib.complaints import Expected

EXPECTED: list[Expected] = []
