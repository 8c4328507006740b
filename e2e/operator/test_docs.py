"""The first commands of the documentation work as they stand, in their order. Those of Helm are tried in `e2e/cluster`."""

from __future__ import annotations

import re
import shlex

import pytest
from conftest import ROOT
from control_plane import wait
from tables import until_ready

APPLY = "kubectl apply -f examples/manuals.yaml"


@pytest.mark.parametrize("page", ["README.md", "docs/kubernetes/install.md", "charts/vdt/README.md"])
def test_the_first_commands_make_a_table_that_is_ready(api, plane, operator, page):
    operator.start()
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (block,) = (one for one in blocks if APPLY in one)
    said = ""
    try:
        for line in block.splitlines():
            program, *args = shlex.split(line.removeprefix("$ "), comments=True)
            if program == "kubectl":
                said = plane.kubectl(*(arg.replace("examples/", f"{ROOT}/examples/") for arg in args if arg != "--watch"))
        assert "manuals" in said
        until_ready(api, "docs")
    finally:
        api.delete("Namespace", "docs", None)
        wait("docs is gone", lambda: api.get("Namespace", "docs", None) is None, 60)
