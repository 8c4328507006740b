"""Manifests as the tests write them."""

from pathlib import Path

import yaml


def virtual_table(name: str, sources: list[dict], **spec) -> dict:
    return {
        "apiVersion": "vdt.io/v1alpha1",
        "kind": "VirtualTable",
        "metadata": {"name": name},
        "spec": {"sources": sources} | spec,
    }


def folder(path: str, name: str = "files", **source) -> dict:
    """`path` is relative to the manifest."""
    return {"name": name, "type": "File", "file": {"path": path}} | source


def bucket(bucket: str, endpoint: str, name: str = "bucket", secret: str = "bucket-ro", prefix=None, **source) -> dict:
    s3 = {"bucket": bucket, "endpoint": endpoint, "region": "us-east-1", "pathStyle": True}
    s3["credentials"] = {"secretRef": {"name": secret}}
    if prefix:
        s3["prefix"] = prefix
    return {"name": name, "type": "S3", "s3": s3} | source


# Refreshes happen when a test asks for them, and nothing is held back for its youth.
ON_REQUEST = {"intervalSeconds": 0, "settleSeconds": 0}


def write(path: Path, table: dict) -> Path:
    path.write_text(yaml.safe_dump(table, sort_keys=False, allow_unicode=True))
    return path
