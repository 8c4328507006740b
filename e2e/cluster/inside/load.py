"""Runs in a pod: reads files of a table all the time, through the Service, and compares every body with what it was at first.

    load.py HOST PORT TABLE EXPECTED.json WORKERS [POD ADDRESS...]

What it was at first is proven too: each artifact's SHA-256, as Polars reads it, stands in EXPECTED.json. Half of the workers open a
connection for each read, so that each one is balanced anew; the others keep theirs, and ask again where an idle one was closed before the
first byte of an answer, as every HTTP client does (`reconnects` counts those). An answer that was begun and breaks is a failed read.

A read is asked once (`failed` counts those without an answer, or with another status than 200 and 206), and then again for up to
PATIENCE_SECONDS as clients of object stores do (`lost` counts those that had no answer even so). `GET /` on port 8000 tells the counts, `GET /anew` begins
the slowest read and the longest gap between two good ones anew.
"""

import hashlib
import http.client
import json
import random
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars
from connections import Reader
from deltalake import DeltaTable

HOST, PORT, TABLE, EXPECTED, WORKERS, *PODS = sys.argv[1:]
PORT = int(PORT)
PATIENCE_SECONDS = 10
# Between two reads of a worker: readers that never pause take both cores from what they watch.
PAUSE_SECONDS = 0.01
FAILURES_KEPT = 200
# Names are looked up once: what is measured is the path to the pods, not the cluster's DNS.
ADDRESS = socket.gethostbyname(HOST)
OPTIONS = {
    "AWS_ENDPOINT_URL": f"http://{ADDRESS}:{PORT}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_SKIP_SIGNATURE": "true",
}  # fmt: skip


class Counts:
    """What happened so far; all workers add to it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.reads = self.failed = self.lost = self.wrong = self.bytes = self.reconnects = 0
        self.slowest = 0.0
        self.failures = []
        self.last_good = time.time()
        self.longest_gap = 0.0

    def good(self, size: int, seconds: float):
        with self.lock:
            now = time.time()
            self.reads += 1
            self.bytes += size
            self.slowest = max(self.slowest, seconds)
            self.longest_gap = max(self.longest_gap, now - self.last_good)
            self.last_good = now

    def add(self, name: str, what: str):
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)
            self.failures.append([round(time.time(), 3), name, what])
            del self.failures[:-FAILURES_KEPT]

    def reconnected(self):
        with self.lock:
            self.reconnects += 1

    def told(self, *, anew: bool) -> dict:
        with self.lock:
            names = ("reads", "failed", "lost", "wrong", "bytes", "reconnects", "slowest", "longest_gap", "failures")
            found = {name: getattr(self, name) for name in names} | {"now": time.time()}
            if anew:
                self.longest_gap = self.slowest = 0.0
            return found


def read_table() -> dict[str, str]:
    frame = polars.scan_delta(f"s3://{TABLE}", storage_options=OPTIONS).select("filename", "data").collect()
    return {name: hashlib.sha256(bytes(data)).hexdigest() for name, data in frame.iter_rows()}


class Worker(threading.Thread):
    def __init__(self, number: int, files: dict[str, bytes], counts: Counts):
        super().__init__(daemon=True, name=f"worker-{number}")
        self.files, self.counts = files, counts
        self.reader = Reader(ADDRESS, PORT, keeps=number % 2 == 1, again=counts.reconnected)
        self.random = random.Random(number)

    def run(self):
        paths = sorted(self.files)
        while True:
            time.sleep(PAUSE_SECONDS)
            path = self.random.choice(paths)
            whole = self.files[path]
            span = None
            if len(whole) > 1 and self.random.random() < 0.7:
                start = self.random.randrange(len(whole))
                span = (start, min(len(whole), start + self.random.choice([1, 4096, 65536, 1 << 20])))
            began, first = time.monotonic(), True
            while True:
                try:
                    body = self.reader.read(path, span)
                    break
                except (OSError, http.client.HTTPException) as error:
                    if first:
                        self.counts.add("failed", f"{self.name} {path} {span}: {type(error).__name__} {error}")
                    first = False
                    if time.monotonic() - began > PATIENCE_SECONDS:
                        self.counts.add("lost", f"{self.name} {path}")
                        body = None
                        break
                    time.sleep(0.1)
            if body is None:
                continue
            if body != (whole if span is None else whole[span[0] : span[1]]):
                self.counts.add("wrong", f"{self.name} {path} {span}: {len(body)} bytes")
            else:
                self.counts.good(len(body), time.monotonic() - began)


def main():
    expected = json.load(open(EXPECTED))
    found = read_table()
    if found != expected:
        odd = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        sys.exit(f"the table is not what its source is: {odd[:5]}")
    table = DeltaTable(f"s3://{TABLE}", storage_options=OPTIONS)
    paths = [f"/{TABLE}/_delta_log/{0:020}.json", *(uri.removeprefix("s3:/") for uri in table.file_uris())]
    files = {path: Reader(ADDRESS, PORT).read(path) for path in paths}
    # Every pod's cache holds everything before it is counted.
    for pod in PODS:
        for path in paths:
            if Reader(pod, PORT).read(path) != files[path]:
                sys.exit(f"{path} of {pod} is another one")
    counts = Counts()
    for number in range(int(WORKERS)):
        Worker(number, files, counts).start()

    class Tell(BaseHTTPRequestHandler):
        def log_message(self, *_):
            """Nobody reads it."""

        def do_GET(self):
            body = json.dumps(counts.told(anew=self.path == "/anew")).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    print(f"reading {len(files)} files of {sum(map(len, files.values()))} bytes", flush=True)
    ThreadingHTTPServer(("0.0.0.0", 8000), Tell).serve_forever()


main()
