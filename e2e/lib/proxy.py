"""A transparent HTTP/1.1 proxy that counts: what was asked, how often, and how many body bytes came back.

It forwards request and response heads as they are, the Host header above all, because signatures cover it. For
plain HTTP on loopback and for bodies that are framed by Content-Length or chunks.
"""

import asyncio
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

HEAD_BYTES_MAX = 256 * 1024


@dataclass
class Exchange:
    """One request and its answer."""

    method: str
    path: str
    query: dict[str, str]
    range: str | None
    headers: dict[str, str]
    status: int = 0
    body_bytes: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> str:
        """What a Delta client asked for, in one word."""
        name = self.path.rsplit("/", 1)[-1]
        if self.query.get("list-type") or (self.method == "GET" and "prefix" in self.query):
            return "list"
        if name == "_last_checkpoint":
            return "last_checkpoint"
        if "/_delta_log/" in self.path:
            return {"json": "commit", "crc": "crc", "parquet": "checkpoint"}.get(name.rsplit(".", 1)[-1], "log")
        if self.method == "HEAD":
            return "head"
        return "data" if self.method == "GET" else self.method.lower()


class CountingProxy:
    """A context manager: `with CountingProxy("127.0.0.1:8333") as p: ... p.exchanges`."""

    def __init__(self, upstream: str):
        host, port = upstream.rsplit(":", 1)
        self._upstream = (host, int(port))
        self.exchanges: list[Exchange] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="counting-proxy", daemon=True)
        self.port = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> "CountingProxy":
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the proxy did not start")
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def take(self) -> list[Exchange]:
        """The exchanges since the last call."""
        taken, self.exchanges = self.exchanges, []
        return taken

    def _run(self):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self):
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, client_in, client_out):
        server_out = None
        try:
            server_in, server_out = await asyncio.open_connection(*self._upstream, limit=HEAD_BYTES_MAX)
            while await self._exchange(client_in, client_out, server_in, server_out):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, asyncio.CancelledError):
            pass  # one side hung up: so do we
        finally:
            for w in (client_out, server_out):
                if w:
                    w.close()

    async def _exchange(self, client_in, client_out, server_in, server_out) -> bool:
        head = await client_in.readuntil(b"\r\n\r\n")
        start, headers = _parse(head)
        method, target, _ = start.split(" ", 2)
        path, _, query = target.partition("?")
        seen = Exchange(
            method,
            urllib.parse.unquote(path),
            dict(urllib.parse.parse_qsl(query, keep_blank_values=True)),
            headers.get("range"),
            headers,
        )
        self.exchanges.append(seen)
        server_out.write(head)
        await self._body(headers, client_in, server_out)
        while True:
            answer = await server_in.readuntil(b"\r\n\r\n")
            status_line, answer_headers = _parse(answer)
            seen.status = int(status_line.split(" ", 2)[1])
            client_out.write(answer)
            if seen.status >= 200:  # 100 Continue is followed by the real answer
                break
        if method != "HEAD" and seen.status not in (204, 304):
            await self._body(answer_headers, server_in, client_out, seen)
        await client_out.drain()
        return "close" not in (headers.get("connection", "").lower(), answer_headers.get("connection", "").lower())

    async def _body(self, headers, reader, writer, seen: Exchange | None = None):
        if "chunked" in headers.get("transfer-encoding", "").lower():
            while True:
                line = await reader.readuntil(b"\r\n")
                size = int(line.split(b";")[0], 16)
                writer.write(line)
                await self._copy(size, reader, writer, seen)
                writer.write(await reader.readexactly(2))
                if size == 0:
                    break
        else:
            await self._copy(int(headers.get("content-length", 0)), reader, writer, seen)
        await writer.drain()

    @staticmethod
    async def _copy(size: int, reader, writer, seen):
        while size > 0:
            piece = await reader.read(min(size, 256 * 1024))
            if not piece:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(piece)
            if seen:
                seen.body_bytes += len(piece)
            writer.write(piece)
            await writer.drain()


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, sep, value = line.partition(":")
        if sep:
            headers[name.strip().lower()] = value.strip()
    return lines[0], headers
