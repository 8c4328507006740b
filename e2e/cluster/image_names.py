"""Other names for images that nodes have."""

from __future__ import annotations


def tagged_again(machine, repository: str, tag: str = "e2e-other") -> str:
    """Gives an image of every node a second tag, and returns that name."""
    ctr = ("ctr", "-n", "k8s.io", "images")
    other = f"{repository}:{tag}"
    for name in machine.settings.names():
        node = machine.node(name)
        known = node.exec(*ctr, "ls", "-q", capture=True).stdout.split()
        first = next(one for one in known if one.startswith(f"{repository}:") and one != other)
        node.exec(*ctr, "tag", "--force", first, other, capture=True)
    return other
