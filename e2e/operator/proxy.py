"""A proxy in front of the API server: plain HTTP for the operator, TLS behind. Counts, refuses, delays, cuts, freezes."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Request:
    method: str
    path: str

    @property
    def is_write(self) -> bool:
        """A write of anything but the lease, an event or a status of the lease."""
        return self.method in ("POST", "PATCH", "PUT", "DELETE") and "/leases" not in self.path and "/events" not in self.path

    @property
    def is_watch(self) -> bool:
        return "watch=true" in self.path or "watch=1" in self.path

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and "limit=" in self.path and not self.is_watch


def failure(code: int) -> dict:
    reason = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}[code]
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": "said the proxy", "code": code}


class Proxy:
    """`rule(request)` answers None to pass, a status code to refuse with, bytes to answer with, 'cut', or 'gone' for a watch that begins and says 410; it may
    sleep."""

    def __init__(self, port: int, ca: Path):
        self.upstream = port
        self.tls = ssl.create_default_context(cafile=str(ca))
        self.rule = None
        self.after = None
        """Called with each write that was passed on and answered."""
        self.retry_after: int | None = None
        """Seconds that a refusal asks to wait."""
        self.requests: list[tuple[float, str, str]] = []
        self.partitioned = False
        self.frozen: tuple[str, ...] = ()
        """Resources whose watches say nothing any more, without an end."""
        self.lists: dict[str, bytes] | None = None
        """Where answers to what is listed are kept, by their paths: a rule may give them later."""
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Ends all connections that are open."""
        for one in list(self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def reset(self):
        self.rule = self.after = self.retry_after = None
        self.partitioned = False
        self.frozen, self.lists = (), None
        self.requests.clear()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket):
        server = None
        self._open.add(client)
        try:
            while True:
                head = self._head(client)
                if not head:
                    return
                while self.partitioned:
                    time.sleep(0.05)
                line, *_ = head.split(b"\r\n", 1)
                method, path, _ = line.decode().split(" ", 2)
                request = Request(method, path)
                self.requests.append((time.monotonic(), method, path))
                body = self._body(client, head)
                action = self.rule(request) if self.rule else None
                if action == "cut":
                    return
                if isinstance(action, bytes):
                    client.sendall(action)
                    continue
                if isinstance(action, int):
                    self._refuse(client, action)
                    continue
                if action == "gone":
                    self._gone(client)
                    continue
                if server is None:
                    raw = socket.create_connection(("127.0.0.1", self.upstream))
                    server = self.tls.wrap_socket(raw, server_hostname="127.0.0.1")
                server.sendall(head + body)
                said = self._relay(server, client, request)
                if self.lists is not None and request.is_list:
                    self.lists[request.path] = said
                if request.is_write and self.after:
                    self.after(request)
        except (OSError, ValueError):
            pass
        finally:
            self._open.discard(client)
            for one in (client, server):
                if one is not None:
                    one.close()

    def _refuse(self, client, code):
        status = failure(code)
        body = json.dumps(status).encode()
        retry = f"Retry-After: {self.retry_after}\r\n" if self.retry_after else ""
        head = f"HTTP/1.1 {code} {status['reason']}\r\nContent-Type: application/json\r\n{retry}Content-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)

    @staticmethod
    def _gone(client):
        """A watch whose version is too old, told as the API server tells it: by an event."""
        event = json.dumps({"type": "ERROR", "object": failure(410)}).encode() + b"\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + f"{len(event):x}\r\n".encode() + event + b"\r\n0\r\n\r\n")

    @staticmethod
    def _head(sock) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            if not byte:
                return b""
            head += byte
        return head

    @staticmethod
    def _field(head: bytes, name: bytes) -> bytes | None:
        for line in head.split(b"\r\n")[1:]:
            field, _, value = line.partition(b":")
            if field.lower() == name:
                return value.strip()
        return None

    def _exactly(self, sock, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = sock.recv(length - len(data))
            if not part:
                raise OSError("cut")
            data += part
        return data

    def _body(self, sock, head) -> bytes:
        length = self._field(head, b"content-length")
        return self._exactly(sock, int(length)) if length else b""

    def _relay(self, server, client, request) -> bytes:
        """Passes an answer on, and returns it."""
        head = self._head(server)
        if not head:
            raise OSError("cut")
        client.sendall(head)
        said = [head]
        if self._field(head, b"transfer-encoding") != b"chunked":
            body = self._exactly(server, int(self._field(head, b"content-length") or 0))
            client.sendall(body)
            return head + body
        length = None
        while length != 0:
            size = b""
            while not size.endswith(b"\r\n"):
                byte = server.recv(1)
                if not byte:
                    raise OSError("cut")
                size += byte
            length = int(size.split(b";")[0], 16)
            chunk = size + self._exactly(server, length + 2)
            while request.is_watch and any(f"/{one}?" in request.path for one in self.frozen):
                time.sleep(0.05)
            client.sendall(chunk)
            if not request.is_watch:
                said.append(chunk)
        return b"".join(said)
