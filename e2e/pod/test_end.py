"""The end of a front door: clients are told to move on while it still serves, streams end whole, and what was cached is there for the next one."""

import contextlib
import os
import signal
import socket
from http.client import HTTPConnection

from lib import artifacts, manifest
from lib.pod import Pod
from lib.process import wait_until
from lib.vdt import http

MIB = 1 << 20
# More than all the buffers between server and reader hold, so that a stream that is not read is open on both sides.
COUNT, BYTES = 32, MIB
RECEIVE_BYTES = 64 * 1024
TABLE = "/v1/main/default/files"


@contextlib.contextmanager
def stream(pod: Pod, path: str):
    """The answer to a GET, which the server sends as it is read."""
    host, port = pod.listen.rsplit(":", 1)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        raw.settimeout(20)
        raw.connect((host, int(port)))
        connection = HTTPConnection(host, int(port))
        connection.sock = raw
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        yield answer
        answer.close()


def is_refused(pod: Pod) -> bool:
    host, port = pod.listen.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_front_door_that_ends_serves_on_unready_ends_streams_and_keeps_what_it_cached(tmp_path):
    made = {f"{number:02}.bin": artifacts.noise(("end", number), BYTES) for number in range(COUNT)}
    artifacts.write_folder(tmp_path / "files", made)
    table = manifest.virtual_table("files", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    path = manifest.write(tmp_path / "files.yaml", table)
    pod = Pod(path, state=tmp_path / "state", lame_duck_seconds=5, work=tmp_path / "p")
    with pod.start():
        status, _, listed = http("GET", f"{pod.endpoint}/main?list-type=2&prefix=default/files/")
        assert status == 200
        [file] = [key for key in listed.decode().split("<Key>default/files/") if key.split("<")[0].endswith(".parquet")]
        file = f"{TABLE}/{file.split('<')[0]}"
        with stream(pod, file) as answer:
            begun = answer.read(MIB)
            os.kill(pod.process.pid, signal.SIGTERM)
            wait_until("clients are told to move on", lambda: pod.readyz()[0] == 503, 5)
            assert "Stopping" in pod.reasons()
            assert not pod._ready_file.exists()
            assert http("GET", f"{pod.endpoint}{TABLE}/_delta_log/00000000000000000000.json")[0] == 200
            wait_until("nobody else is let in", lambda: is_refused(pod), 20)
            assert pod.process.exit_code() is None, "it waits for the stream"
            whole = begun + answer.read()
        assert pod.process.wait(20) == 0
        assert len(whole) == int(answer.headers["Content-Length"])
        assert all(data in whole for data in made.values())

        pod.spawn_front()
        wait_until("the next one is ready", pod._is_ready, 30)
        read = pod.metric("vdt_source_requests_total")
        assert http("GET", f"{pod.endpoint}{file}")[2] == whole
        cache = pod.cache()
        assert pod.metric("vdt_source_requests_total") == read, cache
        assert cache["misses"] == 0 and cache["hits"]["disk"] > 0, cache
