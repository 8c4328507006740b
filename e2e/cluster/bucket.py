"""A bucket of the S3 service on this machine, as tables name it."""

from __future__ import annotations

from kube import Kube
from lib.artifacts import sha256
from lib.seaweed import SeaweedFS


ARTIFACTS, STATES = "e2e-artifacts", "e2e-states"
"""Two buckets for all tests, each in folders of its own there: every bucket takes volumes of the service, and it has few."""


class Bucket:
    """A folder of artifacts in a bucket, and one for the state in another."""

    def __init__(self, service: SeaweedFS, name: str):
        self.service, self.name = service, name
        for bucket in (ARTIFACTS, STATES):
            service.ensure_bucket(bucket)

    def put(self, artifacts: dict[str, bytes]) -> None:
        self.service.upload(ARTIFACTS, {f"{self.name}/{key}": data for key, data in artifacts.items()})

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every artifact, as the bucket gives it."""
        s3, prefix = self.service.client(), f"{self.name}/"
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=ARTIFACTS, Prefix=prefix).get("Contents", [])]
        return {key.removeprefix(prefix): sha256(s3.get_object(Bucket=ARTIFACTS, Key=key)["Body"].read()) for key in keys}

    def secret(self, kube: Kube, name: str = "bucket-ro", *, access_key: str | None = None, secret_key: str | None = None) -> None:
        data = {"accessKeyId": access_key or self.service.access_key, "secretAccessKey": secret_key or self.service.secret_key}
        kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})

    def _s3(self, bucket: str, secret: str) -> dict:
        return {
            "bucket": bucket, "prefix": f"{self.name}/", "region": self.service.region, "endpoint": self.service.endpoint, "pathStyle": True,
            "credentials": {"secretRef": {"name": secret}},
        }  # fmt: skip

    def source(self, secret: str = "bucket-ro") -> dict:
        return {"name": "bucket", "type": "S3", "s3": self._s3(ARTIFACTS, secret)}

    def state(self, secret: str = "bucket-ro") -> dict:
        return {"type": "S3", "s3": self._s3(STATES, secret)}
