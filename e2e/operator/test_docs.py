"""The first commands of the documentation work as they stand, in their order. Those of Helm are tried in `e2e/cluster`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

from conftest import ROOT
from control_plane import BIN, wait
from tables import table, until, until_ready

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


def test_a_table_that_is_restored_has_no_pods_whoever_sets_its_replicas(api, plane, operator, namespace):
    """The commands of platform.md, and what they say of the end, while something else puts replicas back."""
    text = (ROOT / "docs/kubernetes/platform.md").read_text()
    (block,) = re.findall(r"```sh\n( *kubectl .*?)```", text, re.DOTALL)
    (resume,) = re.findall(r"`(kubectl [^`]* vdt.io/paused-)`", text)
    run = lambda line: plane.kubectl(*(namespace if arg == "docs" else arg for arg in shlex.split(line)[1:]))  # noqa: E731
    operator.start()
    api.apply("VirtualTable", table(), namespace)
    until_ready(api, namespace)
    for line in block.splitlines():
        if line.strip():
            run(line)
    assert api.list("Pod", namespace) == []
    api.patch("VirtualTable", "manuals", {"spec": {"server": {"replicas": 2}}}, namespace)
    until(api, namespace, "Ready", "False", "PodsNotReady")
    assert api.get("StatefulSet", "manuals", namespace)["spec"]["replicas"] == 0 and api.list("Pod", namespace) == []
    run(resume)
    until_ready(api, namespace)


def test_the_commands_that_helm_prints_can_be_pasted(api, plane, operator, namespace):
    """NOTES.txt, into a shell as it stands: the manifest ends where it should, and what follows it is reached."""
    operator.start()
    env = {**os.environ, "KUBECONFIG": str(plane.kubeconfig("admin")), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = ["helm", "install", "vdt", ROOT / "charts/vdt", "-n", "vdt-system", "--dry-run=client", "--set", f"scope=Namespaced,watchNamespace={namespace}"]
    notes = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.partition("\nNOTES:\n")[2]
    make, look = re.findall(r"^ *kubectl .*?(?=\n\n)", notes, re.MULTILINE | re.DOTALL)
    out = subprocess.run(["bash"], input=f"{make}\n\n{look}\n", env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (out.returncode, out.stderr) == (0, ""), out
    assert out.stdout.count("created") == 4 and "condition met" in out.stdout, out
    assert re.search(rf"^{namespace} +manuals +True ", out.stdout, re.MULTILINE), out
