"""One cold query of one client, in this process: `python -m bench.once CLIENT lookup|scan|count PLACE_JSON [NAME]`.

Prints JSON: seconds (from before the table is opened until the last byte is there; imports do not count), what CPU time this
process used for them, and bytes.
"""

import hashlib
import json
import os
import sys
import time

import deltalake  # noqa: F401 imports are not part of a query
import duckdb  # noqa: F401
import polars
import pyarrow
from lib.clients import DeltaDataset, DeltaQuery, DuckDB, Place, Polars, Where, literal

CLIENTS = {c.name: c for c in (DeltaDataset, DeltaQuery, Polars, DuckDB)}


def lookup(session, name: str) -> dict:
    rows = session.rows(["filename", "data"], Where("filename", "eq", (name,)))
    assert len(rows) == 1, rows
    return {"bytes": len(rows[0][1]), "sha256": hashlib.sha256(rows[0][1]).hexdigest()}


def scan(session, _name: str) -> dict:
    """Every byte of `data`, streamed where the client can, and its total length."""
    if type(session) is DeltaDataset:
        total = 0
        dataset = session.table.to_pyarrow_dataset()
        for batch in dataset.to_batches(columns=["data"], batch_size=64):
            total += sum(len(v.as_buffer()) for v in batch.column(0) if v.is_valid)
    elif type(session) is DeltaQuery:
        total = 0
        query = deltalake.QueryBuilder().register("t", session.table).execute("SELECT data FROM t")
        for batch in query:
            column = pyarrow.record_batch(batch).column(0)
            total += sum(len(v.as_buffer()) for v in column if v.is_valid)
    elif type(session) is Polars:
        total = session._scan().select(polars.col("data").bin.size().sum()).collect(engine="streaming").item()
    else:
        source = f"delta_scan({literal(session.place.uri)})"
        total = int(session.connection.execute(f"SELECT sum(octet_length(data)) FROM {source}").fetchone()[0])
    return {"bytes": total}


def count(session, _name: str) -> dict:
    return {"bytes": 0, "rows": session.count()}


def main():
    client, what, place = CLIENTS[sys.argv[1]], sys.argv[2], Place(**json.loads(sys.argv[3]))
    began, busy = time.perf_counter(), time.process_time()
    session = client(place)
    result = {"lookup": lookup, "scan": scan, "count": count}[what](session, sys.argv[4])
    cost = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - busy}
    print(json.dumps(result | cost), flush=True)
    os._exit(0)  # delta-rs' threads now and then abort a process that ends in the ordinary way


if __name__ == "__main__":
    main()
