"""A small vdt over a folder, for tests of its surface."""

import pytest
from lib import artifacts, manifest
from lib.vdt import Vdt, run

FAILURE, USAGE = 1, 2
FILES = {"a.pdf": b"%PDF-1.4 a", "sub/b.pdf": b"%PDF-1.4 b", "c.bin": bytes(range(256)) * 40}


@pytest.fixture
def folder(tmp_path):
    artifacts.write_folder(tmp_path / "files", FILES)
    return tmp_path / "files"


@pytest.fixture
def serve(tmp_path):
    """`serve(*sources, name=value)` starts a vdt that is stopped after the test."""
    started = []

    def start(*sources, state=None, args=(), env=None, wait=True) -> Vdt:
        number = len(started)
        server = Vdt(*sources, state=state or tmp_path / "state", args=args, env=env, work=tmp_path / f"run{number}")
        started.append(server)
        return server.start() if wait else server.spawn()

    yield start
    for server in started:
        server.stop(seconds=10)


@pytest.fixture
def on_request(tmp_path, folder):
    """A manifest over `folder` that refreshes when asked."""
    table = manifest.virtual_table("files", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    return manifest.write(tmp_path / "files.yaml", table)


def refused(code, *args, says=(), **options):
    """A command ends with this exit code, and says all of that."""
    done = run(*args, seconds=45, **options)
    text = done.stdout + done.stderr
    assert done.returncode == code, f"exit code {done.returncode}\n{text}"
    for part in says:
        assert str(part).lower() in text.lower(), f"{part!r} is not in:\n{text}"
    assert "panicked" not in text and "RUST_BACKTRACE" not in text, text
    return text
