"""Who may see the admin listener's page, API and refresh: DNS rebinding, other sites, tokens."""

import base64
import json
import subprocess
import time

import pytest
from lib import artifacts, manifest
from lib.vdt import Vdt, http

OPEN, CLOSED = ("/metrics", "/healthz", "/readyz"), ("/", "/api/v1/tables", "/api/v1/cache", "/page/main.js")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """Signs tokens as the operator does, with openssl."""

    def __init__(self, work, name):
        self.work, self.private, self.public = work, work / f"{name}.key", work / f"{name}.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.private], check=True)
        subprocess.run(["openssl", "pkey", "-in", self.private, "-pubout", "-out", self.public], check=True)

    def token(self, aud="default/files", iat=None, life=60) -> str:
        iat = int(time.time()) if iat is None else iat
        claims = {"aud": aud, "iat": iat, "exp": iat + life}
        signed = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "typ": "JWT"}, claims))
        (self.work / "signed").write_text(signed)
        argv = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", self.private, "-in", self.work / "signed"]
        return f"{signed}.{b64(subprocess.run(argv, check=True, capture_output=True).stdout)}"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    work = tmp_path_factory.mktemp("gate")
    artifacts.write_folder(work / "files", {"a.pdf": b"%PDF"})
    signer = Signer(work, "operator")
    keys = work / "keys.pem"
    keys.write_bytes(signer.public.read_bytes())
    table = manifest.virtual_table("files", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    path = manifest.write(work / "files.yaml", table)
    with Vdt(path, state=work / "state", args=["--admin-keys", keys], work=work / "run") as server:
        server.signer, server.keys = signer, keys
        yield server


def ask(served, path, headers=None, method="GET") -> int:
    return http(method, f"http://{served.ready['admin']}{path}", headers)[0]


def test_this_machine_sees_everything(served):
    for path in OPEN + CLOSED:
        assert ask(served, path) == 200, path
    assert ask(served, "/refresh", method="POST") == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example:8081"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "203.0.113.7"},
    ],
    ids=lambda h: "-".join(h),
)
def test_but_not_in_the_name_of_others(served, headers):
    for path in CLOSED:
        assert ask(served, path, headers) == 403, path
    assert ask(served, "/refresh", headers, "POST") == 403
    for path in OPEN:
        assert ask(served, path, headers) == 200, path


def test_tokens(served, tmp_path):
    # A token opens where the rest would not.
    proxied = {"X-Forwarded-For": "203.0.113.7", "Host": "pod.example"}
    bearer = lambda token: proxied | {"Authorization": f"Bearer {token}"}  # noqa: E731
    now = int(time.time())
    assert ask(served, "/api/v1/tables", bearer(served.signer.token())) == 200
    assert ask(served, "/refresh", bearer(served.signer.token()), "POST") == 202
    stranger = Signer(tmp_path, "stranger")
    for bad in (
        served.signer.token(aud="default/other"),
        served.signer.token(life=61),
        served.signer.token(iat=now - 120),
        served.signer.token(iat=now + 120),
        stranger.token(),
        "a.b.c",
    ):
        assert ask(served, "/api/v1/tables", bearer(bad)) == 401, bad

    # Keys are changed while the process runs: old and new side by side, then the new one alone.
    served.keys.write_bytes(served.signer.public.read_bytes() + stranger.public.read_bytes())
    assert ask(served, "/api/v1/tables", bearer(stranger.token())) == 200
    assert ask(served, "/api/v1/tables", bearer(served.signer.token())) == 200
    served.keys.write_bytes(stranger.public.read_bytes())
    assert ask(served, "/api/v1/tables", bearer(served.signer.token())) == 401
    served.keys.write_bytes(served.signer.public.read_bytes())
