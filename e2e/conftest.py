"""Fixtures of all end-to-end tests: the S3 service, work folders, and the clients that this machine can run."""

import os
import shutil

import pytest
from lib import clients
from lib.seaweed import SeaweedFS

pytest_plugins = ["lib.contended"]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    service = SeaweedFS(tmp_path_factory.mktemp("seaweed")).start()
    yield service
    service.stop()
    shutil.rmtree(service.directory, ignore_errors=True)


@pytest.fixture(params=clients.ALL, ids=lambda c: c.name.replace(" ", "-"), scope="session")
def client(request):
    """Each client class in turn. A missing one is skipped on a laptop and fails in CI."""
    why = clients.missing(request.param)
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)
    return request.param


@pytest.fixture(scope="session", autouse=True)
def spark_stops_last():
    yield
    clients.stop_spark()
