"""Scenario 2: a bad manifest is refused by the API server in our words, or stalls with the name of the field; putting it right is enough."""

from __future__ import annotations

import pytest
from kube import Refused
from reading import read
from table import Table, manifest

pytestmark = pytest.mark.usefixtures("operator")


def test_scenario_2_what_the_api_server_can_tell_it_refuses_and_the_rest_stalls_by_name(kube, source, clients_image):
    good = manifest("papers", [source.source()], source.state(), replicas=1)
    two_on_a_claim = manifest("papers", [source.source()], {"type": "Claim", "claim": {}})
    with pytest.raises(Refused, match="spec.server"):
        kube.create(two_on_a_claim)
    no_source = manifest("papers", [], source.state())
    with pytest.raises(Refused, match="spec.sources"):
        kube.create(no_source)
    assert not kube.exists("vt", "papers")

    # No schema knows globs.
    odd = source.source() | {"include": ["[z-a]"]}
    table = Table(kube, "papers").apply(manifest("papers", [odd], source.state(), replicas=1))
    stalled = table.until("Stalled", "True", "InvalidSpec")
    assert "spec.sources[0].include" in stalled["message"]
    assert table.condition("Ready")["status"] == "False"
    assert not kube.exists("statefulset", "papers")

    table.apply(good).ready()
    assert table.condition("Stalled") == {}
    assert read(table, clients_image) == source.hashes()


def test_scenario_2_a_served_table_goes_on_while_its_manifest_is_bad(kube, source, clients_image):
    table = Table(kube, "papers").apply(manifest("papers", [source.source()], source.state(), replicas=1))
    table.ready()
    before = table.uids()
    table.patch({"sources": [source.source() | {"include": ["[z-a]"]}]})
    table.until("Stalled", "True", "InvalidSpec")
    assert table.uids() == before
    assert read(table, clients_image) == source.hashes()
