"""Serves the sample PDFs and asks DuckDB about them, in front of the user. Started by demo.sh."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import duckdb
import duckdb_extension_delta
import duckdb_extension_httpfs

PAPERS = Path("examples/papers")
NAME = "Rechnung 0042 – Müller.pdf"
START_SECONDS = 60


def show(command: str):
    print(f"\n\033[1m{command}\033[0m" if sys.stdout.isatty() else f"\n{command}", flush=True)


def main(binary: str):
    with tempfile.TemporaryDirectory(prefix="vdt-demo-") as work:
        ready = Path(work) / "ready.json"
        show(f"$ vdt serve {PAPERS}")
        # Where setpriv exists, the server ends with this script however that ends.
        guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        command = [*guard, binary, "serve", str(PAPERS), "--state", f"{work}/state", "--ready-file", str(ready)]
        server = subprocess.Popen([*command, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit("vdt did not start")
                time.sleep(0.05)
            time.sleep(0.2)
            ask(json.loads(ready.read_text()))
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(20)


def connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for module, name in ((duckdb_extension_httpfs, "httpfs"), (duckdb_extension_delta, "delta")):
        found = next(Path(module.__file__).parent.rglob(f"{name}.duckdb_extension"))
        connection.execute(f"LOAD '{found}'")
    return connection


def counted(ready: dict) -> dict[str, int]:
    """What the server has counted so far: requests answered, reads of artifacts, bytes of them."""
    with urllib.request.urlopen(f"http://{ready['admin']}/metrics", timeout=20) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    names = {
        "requests": "vdt_http_requests_total",
        "reads": "vdt_source_requests_total",
        "bytes": "vdt_source_read_bytes_total",
    }
    return {k: sum(int(float(v)) for n, v in lines if n.split("{")[0] == name) for k, name in names.items()}


def cost(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after}


def ask(ready: dict):
    (table,) = ready["tables"]
    connection = connect()

    show("D LOAD delta;   -- with the internet: INSTALL delta")
    secret = (
        f"CREATE SECRET (TYPE s3, ENDPOINT '{ready['listen']}', URL_STYLE 'path', USE_SSL false, REGION 'us-east-1');"
    )
    show(f"D {secret}")
    connection.execute(secret)

    query = f"SELECT id, filename, content_type, filesize FROM delta_scan('{table['s3']}') ORDER BY filename;"
    show(f"D {query}")
    print(connection.sql(query))
    listed = {row[1]: row[3] for row in connection.sql(query).fetchall()}
    on_disk = {str(p.relative_to(PAPERS)): p.stat().st_size for p in PAPERS.rglob("*") if p.is_file()}
    if listed != on_disk:
        sys.exit(f"the table is not the folder: {sorted(listed.items() ^ on_disk.items())}")

    query = (
        "SELECT filename, data[1:8] AS magic, octet_length(data) AS bytes, sha256(data) AS sha256\n"
        f"  FROM delta_scan('{table['s3']}')\n  WHERE filename = '{NAME}';"
    )
    show(f"D {query}")
    before = counted(ready)
    print(connection.sql(query))
    cold = cost(before, counted(ready))
    data = connection.sql(query.replace("SELECT filename,", "SELECT data, filename,")).fetchone()[0]

    # DuckDB caches what it has read; another one has not.
    show("D -- the same once more, in another DuckDB")
    connection = connect()
    connection.execute(secret)
    before = counted(ready)
    connection.sql(query).fetchall()
    warm = cost(before, counted(ready))
    print("           requests to vdt   reads of artifacts   bytes of artifacts")
    for name, found in (("cold", cold), ("warm", warm)):
        print(f"  {name} {found['requests']:>18} {found['reads']:>20} {found['bytes']:>20}")
    if warm["reads"] or warm["bytes"]:
        sys.exit("the second query was not answered from the cache")

    show(f"$ sha256sum '{PAPERS / NAME}'")
    expected = (PAPERS / NAME).read_bytes()
    print(f"{hashlib.sha256(expected).hexdigest()}  {PAPERS / NAME}")
    if data != expected or not data.startswith(b"%PDF"):
        sys.exit("the bytes differ")
    print("\nThe table returned the file, byte for byte, and nothing was copied.")


if __name__ == "__main__":
    main(sys.argv[1])
