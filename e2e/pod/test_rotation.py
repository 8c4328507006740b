"""Certificate and keys rotated while a slow reader is served: its stream loses no byte, and who comes next meets what is new."""

import contextlib
import hashlib
import io
import json
import os
import socket
import ssl
import subprocess
from http.client import HTTPConnection
from pathlib import Path

import pyarrow.parquet
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from lib import artifacts, manifest
from lib.pod import Pod
from lib.process import wait_until

MIB = 1 << 20
# Far more than all the buffers between server and reader hold, so that the stream is open on both sides.
COUNT, BYTES = 8, 8 * MIB
RECEIVE_BYTES = 64 * 1024
PIECE_BYTES = 256 * 1024
SECONDS = 20


class Mounted:
    """A Secret as the kubelet mounts it: files are links through `..data`, which is swapped."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.number = 0

    def put(self, files: dict[str, str | bytes]):
        self.number += 1
        data = self.folder / f"..{self.number}"
        data.mkdir(parents=True)
        for name, content in files.items():
            (data / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        (self.folder / "..data_tmp").symlink_to(data.name)
        os.replace(self.folder / "..data_tmp", self.folder / "..data")


class Certificate:
    """Signed by itself, for 127.0.0.1. `trust` is a context of clients that know this one alone."""

    def __init__(self, work: Path, name: str):
        certificate, key = work / f"{name}.crt", work / f"{name}.key"
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", key, "-out", certificate]
        subprocess.run(["openssl", "req", "-x509", *new, *names, *files], check=True, capture_output=True)
        self.secret = {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()}
        self.der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
        self.trust = ssl.create_default_context(cafile=certificate)


class Connection:
    """One TLS connection with a small receive buffer: what is not read stays with the server."""

    def __init__(self, pod: Pod, trust: ssl.SSLContext):
        host, port = pod.listen.rsplit(":", 1)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        raw.settimeout(SECONDS)
        raw.connect((host, int(port)))
        self.socket = trust.wrap_socket(raw, server_hostname=host)
        self.http = HTTPConnection(host, int(port), timeout=SECONDS)
        self.http.sock = self.socket

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_):
        # An answer that was not read to its end holds the socket, and the server would wait for its reader.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def certificate(self) -> bytes:
        return self.socket.getpeercert(binary_form=True)

    def get(self, path: str, headers: dict[str, str]):
        # Reused as it is or not at all: a connection that the server ended is not opened anew behind the test's back.
        assert self.http.sock is not None, "the server has ended the connection"
        self.http.request("GET", path, headers=headers)
        return self.http.getresponse()


class Stream:
    """A download that takes as much as it is told to."""

    def __init__(self, connection: Connection, path: str, headers: dict[str, str]):
        self.connection = connection
        self.answer = connection.get(path, headers)
        assert self.answer.status == 200, self.answer.read()
        self.bytes = int(self.answer.headers["Content-Length"])
        self.hash, self.taken = hashlib.sha256(), 0

    def take(self, most: int) -> bool:
        """Takes a piece. False at the end."""
        piece = self.answer.read(most)
        self.hash.update(piece)
        self.taken += len(piece)
        return bool(piece)

    def slowly(self, what: str, check):
        """Takes a piece between one look and the next."""

        def look():
            if check():
                return True
            assert self.take(PIECE_BYTES), "the stream ended while the server was waited for"
            return False

        wait_until(what, look, SECONDS, every=0.2)

    def is_open(self) -> bool:
        """Whether more is missing than buffers can hold."""
        return self.bytes - self.taken > self.bytes // 2

    def rest(self) -> str:
        """Takes all that is left: the hash of the whole."""
        while self.take(MIB):
            pass
        assert self.taken == self.bytes
        return self.hash.hexdigest()


class Token:
    """A bearer of a token, who reads by HTTP."""

    secret_name = "tokens-key"
    refused = 401
    path = "/v1/main/default/files/"

    def __init__(self, word: str):
        self.secret = {"token": word}

    def headers(self, _pod: Pod, _path: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret['token']}"}


class KeyPair:
    """A signer of requests, who reads by S3."""

    secret_name = "pairs-key"
    refused = 403
    path = "/main/default/files/"

    def __init__(self, word: str, name: str | None = None):
        self.secret = {"accessKeyId": name or f"AK{word.upper()}", "secretAccessKey": f"secret of {word}".replace(" ", "-")}

    def headers(self, pod: Pod, path: str) -> dict[str, str]:
        request = AWSRequest("GET", f"https://{pod.listen}{path}")
        credentials = Credentials(self.secret["accessKeyId"], self.secret["secretAccessKey"])
        S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
        return dict(request.headers)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("rotated") / "files"
    made = {f"{i}.bin": artifacts.noise(("rotation", i), BYTES) for i in range(COUNT)}
    artifacts.write_folder(folder, made)
    return folder, made


class Served:
    """A pod over TLS with two principals, and a table of one data file."""

    def __init__(self, tmp_path: Path, files: tuple[Path, dict[str, bytes]]):
        folder, self.made = files
        server = {
            "access": {
                "mode": "Keys",
                "principals": [
                    {"name": "tokens", "secretRef": {"name": Token.secret_name}},
                    {"name": "pairs", "secretRef": {"name": KeyPair.secret_name}},
                ],
            },
            "tls": {"mode": "Secret", "secretRef": {"name": "own-tls"}},
        }
        table = manifest.virtual_table(
            "files", [manifest.folder(folder.name)], server=server, refresh=manifest.ON_REQUEST
        )
        secrets = tmp_path / "secrets"
        self.mounts = {name: Mounted(secrets / name) for name in (Token.secret_name, KeyPair.secret_name, "own-tls")}
        self.token, self.pair = Token("first-token"), KeyPair("first")
        self.certificate = Certificate(tmp_path, "first")
        for who in (self.token, self.pair):
            self.mounts[who.secret_name].put(who.secret)
        self.mounts["own-tls"].put(self.certificate.secret)
        path = manifest.write(folder.parent / f"{tmp_path.name}.yaml", table)
        self.pod = Pod(path, state=tmp_path / "state", args=["--secrets-dir", secrets], work=tmp_path / "p")

    def start(self):
        self.pod.start()
        commit = self.get(self.token, "_delta_log/00000000000000000000.json")[1]
        [self.file] = [found["add"]["path"] for found in map(json.loads, commit.splitlines()) if "add" in found]
        whole = self.get(self.token, self.file)[1]
        self.hash = hashlib.sha256(whole).hexdigest()
        # What is right is said by the artifacts, not by the server.
        read = pyarrow.parquet.read_table(io.BytesIO(whole), columns=["filename", "data"]).to_pylist()
        assert {row["filename"]: row["data"] for row in read} == self.made

    def get(self, who, name: str, connection: Connection | None = None) -> tuple[int, bytes]:
        """One request, over a connection of its own unless one is given."""
        path = who.path + name
        if connection:
            answer = connection.get(path, who.headers(self.pod, path))
            return answer.status, answer.read()
        with Connection(self.pod, self.certificate.trust) as new:
            return self.get(who, name, new)

    def status(self, who, connection: Connection | None = None) -> int:
        return self.get(who, "_delta_log/00000000000000000000.json", connection)[0]

    def stream(self, connection: Connection, who) -> Stream:
        path = who.path + self.file
        return Stream(connection, path, who.headers(self.pod, path))

    def shown(self) -> bytes:
        """The certificate that a new connection is shown."""
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        with Connection(self.pod, anyone) as new:
            return new.certificate()


@pytest.fixture
def served(tmp_path, files):
    served = Served(tmp_path, files)
    try:
        served.start()
        yield served
    finally:
        served.pod.stop()


def test_a_certificate_is_rotated_while_a_stream_is_open(served, tmp_path):
    old, new = served.certificate, Certificate(tmp_path, "second")
    assert served.shown() == old.der
    with Connection(served.pod, old.trust) as connection:
        stream = served.stream(connection, served.token)
        stream.take(MIB)
        served.mounts["own-tls"].put(new.secret)
        stream.slowly("new connections are shown the new certificate", lambda: served.shown() == new.der)
        assert stream.is_open()
        with pytest.raises(ssl.SSLCertVerificationError):
            Connection(served.pod, old.trust)
        served.certificate = new
        assert served.status(served.token) == 200
        assert stream.is_open()
        assert stream.rest() == served.hash
        # The connection lives on, with the certificate that it was opened with.
        assert served.status(served.token, connection) == 200
        assert connection.certificate() == old.der
    status, body = served.get(served.token, served.file)
    assert (status, hashlib.sha256(body).hexdigest()) == (200, served.hash)


@pytest.mark.parametrize(
    "rotate",
    [
        lambda served: (served.token, Token("second-token")),
        lambda served: (served.pair, KeyPair("second")),
        # The id stays, the secret is another.
        lambda served: (served.pair, KeyPair("second", served.pair.secret["accessKeyId"])),
    ],
    ids=["token", "pair", "secret-of-a-pair"],
)
def test_a_key_is_rotated_while_a_stream_is_open(served, rotate):
    old, new = rotate(served)
    other = served.pair if old is served.token else served.token
    assert (served.status(old), served.status(new)) == (200, old.refused)
    with Connection(served.pod, served.certificate.trust) as connection:
        stream = served.stream(connection, old)
        stream.take(MIB)
        served.mounts[old.secret_name].put(new.secret)
        stream.slowly("the new key is accepted", lambda: served.status(new) == 200)
        assert stream.is_open()
        assert served.status(old) == old.refused
        assert served.status(other) == 200, "the other principal's key is what it was"
        assert stream.is_open()
        assert stream.rest() == served.hash
        # Over the connection of the stream too, for it is requests that are let in.
        assert served.status(old, connection) == old.refused
    status, body = served.get(new, served.file)
    assert (status, hashlib.sha256(body).hexdigest()) == (200, served.hash)
