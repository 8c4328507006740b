"""Runs in a Job: reads a whole table and prints the SHA-256 of every artifact by its name, as one JSON document.

    read.py polars|delta-rs ENDPOINT URI [ACCESS_KEY SECRET_KEY]
"""

import hashlib
import json
import sys

client, endpoint, uri, *keys = sys.argv[1:]
options = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
if keys:
    options |= {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
else:
    options["AWS_SKIP_SIGNATURE"] = "true"

import polars  # noqa: E402  (an unknown client should fail before it is loaded)

if client == "polars":
    frame = polars.scan_delta(uri, storage_options=options).select("filename", "data").collect()
elif client == "delta-rs":
    from deltalake import DeltaTable, QueryBuilder

    table = DeltaTable(uri, storage_options=options)
    frame = polars.DataFrame(QueryBuilder().register("t", table).execute("SELECT filename, data FROM t").read_all())
else:
    sys.exit(f"no such client: {client}")
print(json.dumps({name: hashlib.sha256(bytes(data)).hexdigest() for name, data in frame.iter_rows()}))
