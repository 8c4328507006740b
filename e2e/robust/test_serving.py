"""What `vdt serve` does beside answering: how it ends, what it loads by itself, how long it trusts what it knows."""

import os
import signal
import time

from lib import artifacts
from lib.process import wait_until
from lib.vdt import Vdt, http


def test_a_lame_duck_serves_on_unready_until_a_second_signal(serve, folder):
    vdt = serve(folder, args=["--lame-duck-seconds", "600"])
    log = f"{vdt.table('files').http}/_delta_log/00000000000000000000.json"
    os.kill(vdt.process.pid, signal.SIGTERM)
    wait_until("clients are told to move on", lambda: vdt.admin("GET", "/readyz")[0] == 503, 20)
    assert b"Stopping" in vdt.admin("GET", "/readyz")[1]
    assert http("GET", log)[0] == 200
    assert "Ctrl-C again" in vdt.process.output()
    time.sleep(0.7)  # what comes sooner is an echo of the first
    os.kill(vdt.process.pid, signal.SIGTERM)
    assert vdt.process.wait(20) == 128 + signal.SIGTERM


def test_a_lame_duck_ends_by_itself(serve, folder):
    vdt = serve(folder, args=["--lame-duck-seconds", "1"])
    assert vdt.stop(20) == 0


def test_ropes_are_loaded_before_anybody_reads(serve, folder):
    vdt = serve(folder)

    def ropes() -> int:
        [found] = [one["memoryEntries"] for one in vdt.cache()["classes"] if one["class"] == "metadata"]
        return found

    wait_until("the warm-up, which nobody waits for", ropes, 20)


def commits(vdt: Vdt) -> int:
    """How many a client sees."""
    status, _, listed = http("GET", f"{vdt.endpoint}/main?list-type=2&prefix=default/files/_delta_log/")
    assert status == 200
    return listed.count(b".json</Key>")


def test_versions_of_another_replica_show_as_late_as_asked(serve, seaweed, folder, on_request):
    seaweed.ensure_bucket("staleness")
    state, env = "s3://staleness/state", seaweed.environment()
    committer, late, usual = (
        serve(on_request, state=state, env=env, args=args) for args in ([], ["--staleness-seconds", "30"], [])
    )
    # The late one looks first: whatever it trusts for as long as the usual one, it has to look at again before that has.
    assert (commits(late), commits(usual)) == (1, 1)
    artifacts.write_file(folder / "new.pdf", b"%PDF new")
    [report] = committer.refresh()
    assert report["outcome"] == "Committed", report
    wait_until("a second has passed", lambda: commits(usual) == 2, 20)
    assert (commits(committer), commits(late)) == (2, 1)
