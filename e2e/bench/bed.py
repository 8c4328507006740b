"""What all benchmarks stand on: SeaweedFS with artifacts in a bucket, vdt over it, and physical Delta tables of the same
data beside them. One bed can be shared by several benchmarks of one run."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib import manifest
from lib.artifacts import noise
from lib.clients import Place
from lib.seaweed import SeaweedFS
from lib.vdt import Vdt

BUCKET = "bench"
ROW_GROUP_BYTES = 2 * 1024 * 1024  # layout.rowGroupTargetBytes of the virtual tables, kept by the physical ones too


@dataclass(frozen=True)
class Artifacts:
    """`count` artifacts of `size` bytes below `<label>/` in the bucket."""

    label: str
    size: int
    count: int

    @property
    def bytes(self) -> int:
        return self.size * self.count

    def names(self) -> list[str]:
        return [
            f"customer-{i % 89:03}/2026/{i * 7919 % 100_000:05}-scanned-report-{i:06}.pdf" for i in range(self.count)
        ]

    def body(self, i: int) -> bytes:
        return noise((self.label, i), self.size)


SIZES = {
    "small": [
        Artifacts("10kB", 10_000, 4000),
        Artifacts("100kB", 100_000, 2000),
        Artifacts("1MB", 1_000_000, 300),
        Artifacts("10MB", 10_000_000, 40),
    ],
    "large": [
        Artifacts("10kB", 10_000, 16_000),
        Artifacts("100kB", 100_000, 10_000),
        Artifacts("1MB", 1_000_000, 2000),
        Artifacts("10MB", 10_000_000, 200),
    ],
}
LOOKUP = Artifacts("lookup", 200_000, 20)  # so many that a file has several row groups


class Bed:
    """A context manager."""

    def __init__(self):
        self.work = Path(tempfile.mkdtemp(prefix="vdt-bench-", dir=os.environ.get("VDT_BENCH_DIR")))
        self.seaweed = SeaweedFS(self.work / "seaweed", public_bucket=BUCKET)
        self._filled: set[Artifacts] = set()
        self._physical: set[str] = set()
        self._servers: list[Vdt] = []

    def __enter__(self) -> "Bed":
        self.seaweed.start()
        self.seaweed.create_bucket(BUCKET)
        return self

    def __exit__(self, *_):
        for server in self._servers:
            server.stop(seconds=10)
        self.seaweed.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def fill(self, artifacts: Artifacts):
        """Uploads the artifacts, once."""
        if artifacts in self._filled:
            return
        say(f"uploading {artifacts.count} artifacts of {artifacts.label}")
        client = self.seaweed.client()

        def put(numbered):
            i, name = numbered
            client.put_object(Bucket=BUCKET, Key=f"{artifacts.label}/{name}", Body=artifacts.body(i))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, enumerate(artifacts.names())))
        self._filled.add(artifacts)

    def serve(
        self,
        artifacts: list[Artifacts],
        endpoint: str | None = None,
        name: str = "virtual",
        args=(),
        tls=None,
        kind=Vdt,
        layout: dict | None = None,
    ) -> Vdt:
        """vdt over the artifacts, one table each, its source by way of `endpoint`, by TLS with a (certificate, key), laid out by
        `layout`. State and run folder are new."""
        work = self.work / f"{name}-{len(self._servers)}"
        work.mkdir()
        secrets = self.seaweed.secrets_dir(work / "secrets")
        manifests = []
        for a in artifacts:
            self.fill(a)
            source = manifest.bucket(BUCKET, endpoint or self.seaweed.endpoint, prefix=f"{a.label}/")
            spec = {"server": {"tls": {"mode": "Secret", "secretRef": {"name": "tls"}}}} if tls else {}
            if layout:
                spec["layout"] = layout
            table = manifest.virtual_table(f"t{a.label.lower()}", [source], refresh=manifest.ON_REQUEST, **spec)
            manifests.append(manifest.write(work / f"{a.label}.yaml", table))
        if tls:
            (secrets / "tls").mkdir()
            for name_, file in zip(("tls.crt", "tls.key"), tls, strict=True):
                shutil.copy(file, secrets / "tls" / name_)
        args = ["--secrets-dir", secrets, *args]
        server = kind(*manifests, state=work / "state", args=args, work=work / "run", env={"VDT_LOG": "warn"})
        self._servers.append(server)
        return server.start(seconds=300)

    def physical(self, artifacts: Artifacts) -> Place:
        """A physical Delta table of the same rows in the same bucket, its row groups cut alike, uncompressed."""
        place = Place(
            f"s3://{BUCKET}/physical/{artifacts.label}",
            self.seaweed.endpoint,
            self.seaweed.access_key,
            self.seaweed.secret_key,
        )
        return self._written(artifacts, place)

    def local(self, artifacts: Artifacts) -> Place:
        """The physical table again, in a folder: with no server in between, a scan is the client's own work."""
        return self._written(artifacts, Place(str(self.work / "local" / artifacts.label)))

    def _written(self, artifacts: Artifacts, place: Place) -> Place:
        if place.uri not in self._physical:
            say(f"writing the physical table of {artifacts.label}: {place.uri}")
            self._write_physical(artifacts, place)
            self._physical.add(place.uri)
        return place

    def query(self, client: str, what: str, place: Place, vdt: Vdt | None = None) -> dict:
        """`once`, and in `cpus` what it took whom: the client, the service and vdt, CPU seconds each."""
        servers = {"service": self.seaweed.process} | ({"vdt": vdt.process} if vdt else {})
        before = {name: process.cpu_seconds() for name, process in servers.items()}
        found = once(client, what, place)
        cpus = {name: process.cpu_seconds() - before[name] for name, process in servers.items()}
        return found | {"cpus": {"client": found["cpu"]} | cpus}

    def _write_physical(self, artifacts: Artifacts, place: Place):
        import deltalake
        import pyarrow as pa

        rows = max(1, ROW_GROUP_BYTES // artifacts.size)
        schema = pa.schema(
            [
                *(("id", pa.int64()), ("filename", pa.string()), ("content_type", pa.string()), ("url", pa.string())),
                *(("filesize", pa.int64()), ("data", pa.binary()), ("checksum", pa.string())),
                ("checksum_algo", pa.string()),
            ]
        )
        ordered = sorted(enumerate(artifacts.names()), key=lambda n: n[1])

        def batches():
            for start in range(0, len(ordered), rows):
                part = ordered[start : start + rows]
                yield pa.record_batch(
                    [
                        list(range(start, start + len(part))),
                        [name for _, name in part],
                        ["application/pdf"] * len(part),
                        [f"s3://{BUCKET}/{artifacts.label}/{name}" for _, name in part],
                        [artifacts.size] * len(part),
                        [artifacts.body(i) for i, _ in part],
                        [None] * len(part),
                        [None] * len(part),
                    ],
                    schema=schema,
                )

        raw = deltalake.ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
        deltalake.write_deltalake(
            place.uri,
            pa.RecordBatchReader.from_batches(schema, batches()),
            storage_options=self.seaweed.storage_options() if place.endpoint else {},
            configuration={"delta.dataSkippingStatsColumns": "id,filename"},
            target_file_size=1024 * 1024 * 1024,
            writer_properties=deltalake.WriterProperties(
                compression="UNCOMPRESSED",
                max_row_group_size=rows,
                write_batch_size=1,
                column_properties={"data": raw},
            ),
        )


def once(client: str, what: str, place: Place, argument: str = "", seconds: float = 600) -> dict:
    """One cold query in a process of its own: see `bench.once`. Returns what it printed."""
    import json

    argv = [sys.executable, "-m", "bench.once", client, what, json.dumps(vars(place)), argument]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=seconds, cwd=Path(__file__).resolve().parents[1]
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise RuntimeError(f"{client} {what} {place.uri}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def say(message: str):
    print(f"bench: {message}", file=sys.stderr, flush=True)


def arguments(only: bool = False) -> argparse.Namespace:
    """Options of a benchmark; with `only`, one size of artifacts can be asked for."""
    parser = argparse.ArgumentParser()
    if only:
        parser.add_argument("--only", metavar="LABEL", help="artifacts of one size: 1MB, say")
    parser.add_argument("--size", choices=SIZES, default=os.environ.get("VDT_BENCH_SIZE", "small"))
    parser.add_argument("--runs", type=int, default=int(os.environ.get("VDT_BENCH_RUNS", "5")), help="pairs of runs")
    return parser.parse_args()


def table(title: str, head: list[str], rows: list[list]):
    """Prints a Markdown table."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(c) for c in row) + " |", flush=True)


def cpu(cpus: dict[str, float]) -> str:
    """CPU seconds by process, as a cell of a table."""
    return " + ".join(f"{seconds:.2f}" for seconds in cpus.values())


@contextmanager
def core(number: int | None):
    """Processes that are started meanwhile stay on one of this machine's cores, or on all of them."""
    cores = sorted(os.sched_getaffinity(0))
    if number is not None:
        os.sched_setaffinity(0, {cores[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def memory_groups() -> tuple[str, str] | None:
    """Where control groups lie and how their limit of memory is called, of version 1 or 2, if this process may make any."""
    for root, limit in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]:
        if os.access(Path(root, "cgroup.procs"), os.W_OK):
            return root, limit
    return None


@contextmanager
def memory_limit(size: int | None):
    """Processes that are started meanwhile may use so many bytes of memory, as in a pod; see `memory_groups`."""
    if size is None:
        yield
        return
    root, limit = memory_groups()
    group = Path(root, f"vdt-bench-{size}")
    group.mkdir(exist_ok=True)
    (group / limit).write_text(str(size))
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        # Those that were started stay in it.
        Path(root, "cgroup.procs").write_text(str(os.getpid()))


def median(values) -> float:
    return statistics.median(values)


def megabytes(n: float) -> str:
    return f"{n / 1e6:.2f} MB"
