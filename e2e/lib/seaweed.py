"""SeaweedFS: a real S3 service that checks signatures, in one process.

All ports are chosen here (its own defaults would let two instances collide), the credentials are random, and
it listens on loopback only unless told otherwise. `stop()` ends it by pid.
"""

import json
import secrets
import shutil
import sys
from pathlib import Path

import boto3
import botocore.config

from .process import Process, free_ports, wait_until


def program() -> str:
    """The path of `weed`."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise FileNotFoundError("weed: run e2e/setup.sh")
    return found


def arguments(data: Path | str, config: Path | str, ports: list[int], address: str) -> list[str]:
    """Those of `weed`: everything on loopback but the S3 service, which listens on `address`."""
    m, mg, v, vg, f, fg, s3, s3g = ports
    return [
        *("-logtostderr", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={m}", f"-master.port.grpc={mg}", "-master.telemetry=false"),
        *("-master.volumeSizeLimitMB=4096", f"-volume.port={v}", f"-volume.port.grpc={vg}"),
        *("-volume.max=100", "-volume.preStopSeconds=0", f"-filer.port={f}", f"-filer.port.grpc={fg}"),
        *("-s3", f"-s3.ip.bind={address}", f"-s3.port={s3}", f"-s3.port.grpc={s3g}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.config={config}", "-iam=false"),
    ]


class SeaweedFS:
    def __init__(self, directory: Path, public_bucket: str | None = None, address: str = "127.0.0.1"):
        self.directory = Path(directory)
        self.address = address  # of the S3 service; pods reach the machine by its address on their bridge
        self.public_bucket = public_bucket  # read by anybody: for peers that cannot sign
        self.access_key = "AK" + secrets.token_hex(8).upper()
        self.secret_key = secrets.token_urlsafe(24)
        self.spare = ("AK" + secrets.token_hex(8).upper(), secrets.token_urlsafe(24))  # other keys of the same identity: for rotations
        self.region = "us-east-1"
        self.process: Process | None = None
        self.ports = free_ports(8)

    @property
    def host(self) -> str:
        return f"{self.address}:{self.ports[6]}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    @property
    def reached_at(self) -> str:
        """The endpoint as this process reaches it."""
        return self.endpoint

    def identities(self) -> dict:
        """Who may do what, as SeaweedFS is told it."""
        identity = {
            "name": "e2e",
            "credentials": [{"accessKey": key, "secretKey": secret} for key, secret in ((self.access_key, self.secret_key), self.spare)],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        public = [{"name": "anonymous", "actions": [f"Read:{self.public_bucket}"]}] if self.public_bucket else []
        return {"identities": [identity, *public]}

    def start(self) -> "SeaweedFS":
        self.directory.mkdir(parents=True, exist_ok=True)
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        config = self.directory / "s3.json"
        config.write_text(json.dumps(self.identities()))
        for _attempt in range(3):
            self.process = Process(
                [program(), *arguments(data, config, self.ports, self.address)], self.directory / "weed.log", cwd=self.directory
            )
            try:
                wait_until("SeaweedFS answers", self._ready, 40, every=0.2)
                return self
            except (TimeoutError, ChildProcessError):
                self.process.kill()
                self.ports = free_ports(8)  # another process was quicker: once more on other ports
        raise RuntimeError("SeaweedFS did not start:\n" + self.process.tail())

    def _ready(self) -> bool:
        if self.process.exit_code() is not None:
            raise ChildProcessError(self.process.tail())
        return self._answers()

    def _answers(self) -> bool:
        try:
            s3 = self.client(retries=0)
            if "e2e-ready" not in {b["Name"] for b in s3.list_buckets()["Buckets"]}:  # it may have been started before
                s3.create_bucket(Bucket="e2e-ready")
            s3.put_object(Bucket="e2e-ready", Key="ready", Body=b"ready")
            return s3.get_object(Bucket="e2e-ready", Key="ready")["Body"].read() == b"ready"
        except Exception:  # whatever the client says while the service starts, it is not ready
            return False

    def stop(self):
        if self.process:
            self.process.kill()  # its data is thrown away: no need for the ten seconds of a graceful end

    def client(self, retries: int = 3):
        """A boto3 client: it sends every key as it is, odd ones included."""
        return boto3.client(
            "s3",
            endpoint_url=self.reached_at,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=botocore.config.Config(
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=60,
                retries={"max_attempts": retries},
                request_checksum_calculation="when_required",
                max_pool_connections=16,
            ),
        )

    def create_bucket(self, bucket: str):
        self.client().create_bucket(Bucket=bucket)

    def ensure_bucket(self, bucket: str):
        if bucket not in {b["Name"] for b in self.client().list_buckets()["Buckets"]}:
            self.create_bucket(bucket)

    def upload(self, bucket: str, objects: dict[str, bytes]):
        s3 = self.client()
        for key, body in objects.items():
            s3.put_object(Bucket=bucket, Key=key, Body=body)

    def secrets_dir(self, parent: Path, name: str = "bucket-ro", secret_key: str | None = None) -> Path:
        """A `--secrets-dir` that holds this service's credentials as the secret `name`. Returns `parent`."""
        secret = Path(parent) / name
        secret.mkdir(parents=True, exist_ok=True)
        (secret / "accessKeyId").write_text(self.access_key)
        (secret / "secretAccessKey").write_text(secret_key or self.secret_key)
        return Path(parent)

    def environment(self) -> dict[str, str]:
        """What makes an S3 client with ambient credentials use this service."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def storage_options(self) -> dict[str, str]:
        """delta-rs and Polars on this service. SeaweedFS has conditional put, which makes commits safe."""
        return self.environment() | {"AWS_S3_ADDRESSING_STYLE": "path", "aws_conditional_put": "etag"}
