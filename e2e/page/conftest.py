"""A vdt with one table, a browser, and a cache as a busy process would report it."""

import os
import time

import pytest
from lib import artifacts, browser, manifest
from lib.vdt import Vdt

MIB = 1024 * 1024


@pytest.fixture(scope="session")
def chromium():
    why = browser.missing()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)
    with browser.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def vdt(tmp_path_factory):
    work = tmp_path_factory.mktemp("page")
    files = {f"reports/2026/{n:03}.pdf": bytes([n % 251]) * (3000 + 977 * n) for n in range(60)}
    files |= {f"a-rather-long-folder-name/and-another-one/{'x' * 80}.bin": b"<b>&amp;\"'" * 20_000}
    artifacts.write_folder(work / "files", files)
    table = manifest.virtual_table("manuals", [manifest.folder("files")], refresh=manifest.ON_REQUEST)
    with Vdt(manifest.write(work / "manuals.yaml", table), state=work / "state", work=work / "run") as server:
        server.folder = work / "files"
        yield server


@pytest.fixture
def cache() -> dict:
    """`GET /api/v1/cache` of a process with both tiers, one of them in trouble."""
    minute = int(time.time() // 60)
    hour = [
        {
            "minute": minute - 59 + n,
            "hitsMemory": 4000 + 37 * n * (n % 7),
            "hitsDisk": 900 + 11 * (n % 13) * n,
            "misses": 60 * (60 - n) // (1 + n % 3),
            "originRequests": 12,
            "originBytes": (60 - n) * MIB,
            "servedBytes": (180 + n * (n % 7)) * MIB,
        }
        for n in range(60)
    ]
    hottest = [
        {"key": f"manuals/customer-{n % 4}/2026/{'very-' * n}long-name-of-a-report-{n}.pdf", "source": "5f2c", "reads": 9000 // (n + 1), "bytes": 100_000 + n}
        for n in range(12)
    ]
    return {
        "tiers": {
            "memory": {"state": "Ok", "capacity": 1024 * MIB, "bytes": 913 * MIB, "entries": 41_022, "evictions": 1_204, "droppedWrites": 0},
            "disk": {
                "state": "Degraded", "reason": "CacheSmaller", "message": "the volume has 71 GiB where 100 GiB were asked for",
                "capacity": 72_704 * MIB, "bytes": 31_000 * MIB, "entries": 612_337, "evictions": 0, "droppedWrites": 17,
            },
        },
        "classes": [
            {"class": name, "memoryEntries": 10, "memoryBytes": size * MIB, "hits": {"memory": 10_000, "disk": 40}, "misses": 9}
            for name, size in (("metadata", 201), ("block", 640), ("pack", 72))
        ],
        "hits": {"memory": 1_000_000, "disk": 300_000}, "misses": 40_000, "joins": 310, "readAheadBytes": 90 * MIB,
        "hour": hour, "hottest": hottest,
        "origin": {
            "up": False, "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 95)), "requests": 40_310,
            "bytes": 88 * 1024 * MIB, "staleAnswers": 12,
            "lastError": {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3)), "message": "the origin does not answer: connection refused"},
        },
    }  # fmt: skip
