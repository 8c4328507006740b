"""Reads over HTTP as a client of object stores makes them: each on a connection of its own, or one after the other on one that is kept."""

import http.client
import socket
from collections.abc import Callable

TIMEOUT_SECONDS = 10


class Reader:
    """Reads one file, or a span of one, after the other.

    A server may close a kept connection at any time before it has seen the next request (RFC 9112, 9.3.1): where not one byte of an answer has
    come on a connection that was used before, what was asked is asked once more on a new one, and `again` is called. Whatever breaks later, or
    on a new connection, is a failed read: an answer that was begun is owed to its end.
    """

    def __init__(self, address: str, port: int, *, keeps: bool = False, again: Callable[[], None] = lambda: None):
        self.connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
        self.keeps, self.again = keeps, again

    def read(self, path: str, span: tuple[int, int] | None = None) -> bytes:
        """The body. Raises `OSError` or `http.client.HTTPException`, and then the next read has a new connection."""
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
        try:
            if self.connection.sock is None:
                self.connection.request("GET", path, headers=headers)
            elif not self._is_answered(path, headers):
                self.connection.close()
                self.again()
                self.connection.request("GET", path, headers=headers)
            answer = self.connection.getresponse()
            body = answer.read()
            if answer.status not in (200, 206):
                raise ConnectionError(f"status {answer.status}: {body[:200]!r}")
        except BaseException:
            self.connection.close()
            raise
        if not self.keeps:
            self.connection.close()
        return body

    def _is_answered(self, path: str, headers: dict[str, str]) -> bool:
        """Asks on the connection that was kept; whether at least one byte came back."""
        try:
            self.connection.request("GET", path, headers=headers)
            return self.connection.sock.recv(1, socket.MSG_PEEK) != b""
        except (BrokenPipeError, ConnectionResetError):
            return False
