"""The first commands of the documentation work as they stand, in their order. Those of Helm are tried in `e2e/cluster`."""

from __future__ import annotations

import re
import shlex

from conftest import ROOT
from control_plane import wait
from tables import until_ready

APPLY = "kubectl apply -f examples/manuals.yaml"
PAGES = ["README.md", "docs/kubernetes/install.md", "charts/vdt/README.md"]


def commands(page: str) -> list[list[str]]:
    """What a page says of kubectl, from an empty cluster to the first table."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (block,) = (one for one in blocks if APPLY in one)
    lines = [shlex.split(line.removeprefix("$ "), comments=True) for line in block.splitlines()]
    return [args for program, *args in lines if program == "kubectl"]


def test_the_first_commands_make_a_table_that_is_ready(api, plane, operator):
    operator.start()
    of_pages = {page: commands(page) for page in PAGES}
    make = of_pages[PAGES[0]][:-1]
    try:
        for args in make:
            plane.kubectl(*(arg.replace("examples/", f"{ROOT}/examples/") for arg in args))
        until_ready(api, "docs")
        for page, said in of_pages.items():
            assert said[:-1] == make, f"{page} says it otherwise"
            assert "manuals" in plane.kubectl(*(arg for arg in said[-1] if arg != "--watch")), page
    finally:
        api.delete("Namespace", "docs", None)
        wait("docs is gone", lambda: api.get("Namespace", "docs", None) is None, 60)
