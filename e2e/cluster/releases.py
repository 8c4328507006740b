"""Installed releases of the chart."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from kube import Kube, keep
from measured import ARTIFACTS

ROOT = Path(__file__).resolve().parents[2]
CHART = str(ROOT / "charts" / "vdt")


@contextmanager
def release(kube: Kube, images: list[str], *more: str, chart: str = CHART) -> Iterator[str]:
    """An installed release, named after nothing else; what explains a failure is kept."""
    name = f"r{uuid.uuid4().hex[:6]}"
    # Other tests apply the definition by kubectl.
    args = ["install", name, chart, "--wait", "--timeout=90s", "--take-ownership", "--set", f"fullnameOverride={name}"]
    try:
        kube.helm(*args, *images, *more)
        yield name
    except BaseException:
        keep(kube, ARTIFACTS / f"release-{name}")
        raise
    finally:
        kube.helm("uninstall", name, "--ignore-not-found", "--wait")


def lease_holder(kube: Kube, name: str) -> str:
    """Identity of the operator that leads, empty when none does."""
    leases = [one for one in kube.list("lease") if one["metadata"]["name"].startswith(name)]
    return leases[0]["spec"].get("holderIdentity") or "" if leases else ""


def led_since(kube: Kube, name: str) -> float:
    """When the one that leads began to, seconds since 1970 by the clock of its node."""
    (lease,) = (one for one in kube.list("lease") if one["metadata"]["name"].startswith(name))
    return datetime.fromisoformat(lease["spec"]["acquireTime"]).timestamp()


def leader(kube: Kube, name: str) -> str:
    """The pod that leads, empty when none does."""
    holder = lease_holder(kube, name)
    pods = [pod["metadata"]["name"] for pod in kube.list("pod", f"app.kubernetes.io/instance={name}")]
    return next((pod for pod in pods if holder.startswith(pod)), "")
