"""A transparent HTTP/1.1 proxy that counts: what was asked, how often, and how many body bytes came back.

It forwards request and response heads as they are, the Host header above all, because signatures cover it. For
plain HTTP on loopback and for bodies that are framed by Content-Length or chunks. It is a process of its own: a client
may hold Python's global lock while it waits for an answer.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import urllib.parse
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .process import Process, wait_until

HEAD_BYTES_MAX = 256 * 1024


@dataclass
class Exchange:
    """One request and its answer."""

    method: str
    path: str
    query: dict[str, str]
    range: str | None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    body_bytes: int = 0
    complete: bool = False

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
    """A context manager: `with CountingProxy("127.0.0.1:8333") as p: ... p.take()`."""

    def __init__(self, upstream: str):
        self._upstream = upstream
        self._work = Path(tempfile.mkdtemp(prefix="vdt-proxy-"))
        self._log = self._work / "exchanges"
        self._read_to = 0
        self._process: Process | None = None
        self.host = ""

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> "CountingProxy":
        argv = [sys.executable, "-m", "lib.proxy", self._upstream, self._work]
        self._process = Process(argv, self._work / "log", cwd=Path(__file__).resolve().parents[1])
        listen = self._work / "listen"
        wait_until("the proxy listens", lambda: listen.exists() and listen.read_text().endswith("\n"), 20)
        self.host = listen.read_text().strip()
        return self

    def __exit__(self, *_):
        self._process.kill()
        shutil.rmtree(self._work, ignore_errors=True)

    def take(self) -> list[Exchange]:
        """The exchanges since the last call, in the order of their requests. Waits for those under way."""
        started: dict[int, Exchange] = {}

        def settled() -> bool:
            started.clear()
            with open(self._log) as f:
                f.seek(self._read_to)
                for line in f:
                    if not line.endswith("\n"):
                        return False
                    number, exchange = json.loads(line)
                    started[number] = Exchange(**exchange)
                self._end = f.tell()
            return all(e.complete for e in started.values())

        wait_until("requests through the proxy have ended", settled, 30)
        self._read_to = self._end
        return list(started.values())


class _Server:
    """The process behind `CountingProxy`. Writes a line when a request starts and one when its answer ends."""

    def __init__(self, upstream: str, work: Path):
        host, port = upstream.rsplit(":", 1)
        self._upstream = (host, int(port))
        self._work = work
        self._log = open(work / "exchanges", "a")  # noqa: SIM115 open as long as the process
        self._count = 0

    def _write(self, number: int, exchange: Exchange):
        print(json.dumps([number, asdict(exchange)]), file=self._log, flush=True)

    async def serve(self):
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        host, port = server.sockets[0].getsockname()[:2]
        (self._work / "listen").write_text(f"{host}:{port}\n")
        await server.serve_forever()

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
        self._count += 1
        number = self._count
        self._write(number, seen)
        try:
            closing = await self._forward(seen, head, headers, client_in, client_out, server_in, server_out)
        finally:
            seen.complete = True
            self._write(number, seen)
        return not closing and "close" not in headers.get("connection", "").lower()

    async def _forward(self, seen, head, headers, client_in, client_out, server_in, server_out) -> bool:
        server_out.write(head)
        await self._body(headers, client_in, server_out)
        while True:
            answer = await server_in.readuntil(b"\r\n\r\n")
            status_line, answer_headers = _parse(answer)
            seen.status = int(status_line.split(" ", 2)[1])
            client_out.write(answer)
            if seen.status >= 200:  # 100 Continue is followed by the real answer
                break
        if seen.method != "HEAD" and seen.status not in (204, 304):
            await self._body(answer_headers, server_in, client_out, seen)
        await client_out.drain()
        return "close" in answer_headers.get("connection", "").lower()

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


if __name__ == "__main__":
    asyncio.run(_Server(sys.argv[1], Path(sys.argv[2])).serve())
