"""A table of nothing: every client opens it, and finds its columns and no rows."""

import pytest
from clients.test_schema import EIGHT
from lib.clients import place_of


@pytest.fixture(params=["folder", "bucket"])
def table(request, vdt):
    """The table of a source that holds nothing."""
    found = vdt.table(f"empty_{request.param}")
    assert (found.version, found.artifacts) == (0, 0)
    return found


@pytest.mark.parametrize("of", ["t", "t_meta"])
def test_an_empty_table_has_its_columns_and_no_rows(client, table, of):
    columns = {c: type for c, type in EIGHT.items() if c != "data" or of == "t"}
    session = client(place_of(table if of == "t" else table.meta()))
    assert list(session.schema().items()) == list(columns.items())
    assert session.rows(list(columns)) == []
    assert session.count() == 0
    session.close()
