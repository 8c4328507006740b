"""The readers of the cluster's tests (`cluster/inside/connections.py`) against servers that break off at each point of an answer."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cluster.inside.connections import Reader

BODY = bytes(range(256)) * 256
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def reset(connection: socket.socket) -> None:
    """Ends a connection as the kernel does for a process that is killed with answers under way."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Server:
    """Answers each request with the next of `answers`, what to send and how to end: None keeps the connection open."""

    def __init__(self, answers):
        self.answers, self.asked = list(answers), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while self.answers:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        while self.answers:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                more = connection.recv(4096)
                if not more:
                    return
                head += more
            self.asked += 1
            data, end = self.answers.pop(0)
            connection.sendall(data)
            if end is not None:
                end(connection)
                return


@contextmanager
def serving(*answers) -> Iterator[Server]:
    server = Server(answers)
    try:
        yield server
    finally:
        server.listener.close()


WHOLE = (HEAD + BODY, None)


@pytest.mark.parametrize("part", [HEAD[:9], HEAD, HEAD + BODY[:1000]], ids=["in the status line", "after the headers", "in the body"])
@pytest.mark.parametrize("end", [reset, socket.socket.close], ids=["reset", "closed"])
def test_an_answer_that_is_begun_and_breaks_off_is_a_failed_read_also_on_a_kept_connection(part, end):
    again = []
    with serving(WHOLE, (part, end), WHOLE) as server:
        reader = Reader("127.0.0.1", server.port, keeps=True, again=lambda: again.append(1))
        assert reader.read("/a") == BODY
        with pytest.raises((OSError, http.client.HTTPException)):
            reader.read("/b")
        assert server.asked == 2, "it was asked again, and nobody was told"
        assert reader.read("/c") == BODY
    assert again == []


@pytest.mark.parametrize("end", [reset, socket.socket.close], ids=["reset", "closed"])
def test_a_kept_connection_that_ends_before_an_answer_begins_is_asked_again_once(end):
    again = []
    with serving(WHOLE, (b"", end), WHOLE) as server:
        reader = Reader("127.0.0.1", server.port, keeps=True, again=lambda: again.append(1))
        assert reader.read("/a") == BODY
        assert reader.read("/b") == BODY
        assert server.asked == 3
    assert again == [1]
    with serving(WHOLE, (b"", end), (b"", end), WHOLE) as server:
        reader = Reader("127.0.0.1", server.port, keeps=True)
        assert reader.read("/a") == BODY
        with pytest.raises((OSError, http.client.HTTPException)):
            reader.read("/b")
        assert server.asked == 3


def test_a_new_connection_that_ends_before_an_answer_begins_is_a_failed_read():
    again = []
    with serving((b"", reset), WHOLE) as server:
        reader = Reader("127.0.0.1", server.port, keeps=True, again=lambda: again.append(1))
        with pytest.raises((OSError, http.client.HTTPException)):
            reader.read("/a")
        assert server.asked == 1
    assert again == []


def test_a_refusal_is_a_failed_read():
    refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
    with serving((refusal, None), WHOLE) as server:
        with pytest.raises(ConnectionError, match="503: b'busy'"):
            Reader("127.0.0.1", server.port, keeps=True).read("/a")
