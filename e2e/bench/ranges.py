"""Warm ranges: vdt's cache against nginx, varnish and cachey, each in front of the same SeaweedFS, each holding everything.

One round asks every peer in turn, in an order that rotates; figures are medians of the rounds, ratios are taken within a round.
Memory tier: every cache has room for all the data in memory. Disk tier: vdt and cachey have room for an eighth; nginx, which caches
in files, and varnish's file storage have the kernel's page cache in both.

While connections hold more than vdt allows them to (256 MiB; of a large range each holds up to 1 MiB at a time) it answers 503. Rates and times are of what was
served; a line below the table says how many requests were not.
"""

import argparse

from .bed import Artifacts, Bed, median, say, table
from .load import load
from .peers import Vdt, installed_peers, self_signed

DATA = Artifacts("32MB", 32 * 1024 * 1024, 16)
RANGES = [("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20)]
CONNECTIONS = [1, 16, 256]
SERVED_MAX = 1 << 30  # bytes asked for at once: beyond them requests may be refused, and are counted


def run(bed: Bed, runs: int, seconds: float = 2.0, only: str | None = None):
    """`only`: "memory", "disk" or "cpu"."""
    bed.fill(DATA)
    for tier, memory in [("memory", 1 << 30), ("disk", 64 << 20)]:
        if only and only != tier:
            continue
        peers = [kind(bed, memory, 4 << 30).start() for kind in [Vdt, *installed_peers()]]
        try:
            rows, refusals = _tier(bed, peers, runs, seconds)
        finally:
            for peer in peers:
                peer.stop()
        others = [p.name for p in peers[1:]]
        head = ["range", "connections", "vdt, requests/s", *(f"vdt / {n}" for n in others), "p50 us: vdt, best other"]
        table(f"Warm ranges, {tier} tier: throughput", [*head, "p99 us: vdt, best other"], rows)
        print("", *refusals, sep="\n", flush=True)
    if only in (None, "cpu"):
        _cpu(bed, runs, seconds)


def _tier(bed: Bed, peers, runs: int, seconds: float) -> tuple[list[list], list[str]]:
    """The rows of the table, and what is said of requests that were refused."""
    targets = {peer.name: peer.targets(DATA) for peer in peers}
    for peer in peers:
        say(f"warming {peer.name}")
        for _ in range(2):
            load(bed.work, peer.server, _pieces(targets[peer.name]), peer.cacert, headers=peer.headers, once=True)
    rows, refusals = [], []
    for label, size in RANGES:
        for connections in CONNECTIONS:
            rounds, may_fail = [], connections * size > SERVED_MAX
            for number in range(runs):
                found = {}
                for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
                    # Long enough for each connection to end some requests.
                    long = max(seconds, 3 * connections * size / 2e9)
                    options = {"range": size, "connections": connections, "seconds": long, "warmup": 0.3}
                    options |= {"headers": peer.headers, "seed": number + 1}
                    before = peer.refused()
                    done = load(bed.work, peer.server, targets[peer.name], peer.cacert, may_fail, **options)
                    found[peer.name] = done | {"refused": peer.refused() - before}
                rounds.append(found)
            rows.append([label, connections, *_row(rounds, [p.name for p in peers[1:]])])
            say(" ".join(str(c) for c in rows[-1]))
            if may_fail:
                refusals.append(f"{label} of {connections} connections: " + "; ".join(_refusals(rounds, p.name) for p in peers) + ".")
                say(refusals[-1])
    return rows, refusals


def _refusals(rounds: list[dict], name: str) -> str:
    """How many requests of a peer were not served. vdt counts its 503s, and nothing else of it may fail."""
    served, failed, refused = (sum(found[name][what] for found in rounds) for what in ("requests", "errors", "refused"))
    if name != "vdt":
        return f"{name} failed {failed:,} of {served + failed:,}"
    if failed > refused:
        raise RuntimeError(f"{failed} requests failed, of which 503: {refused}: {[found[name]['first_error'] for found in rounds]}")
    return f"vdt answered {refused:,} of {served + refused:,} requests with 503"


def _row(rounds: list[dict], others: list[str]) -> list:
    def rate(found, name):
        return found[name]["requests_per_second"]

    def latency(name, quantile):
        return median(found[name]["latency_us"][quantile] for found in rounds)

    row = [f"{median(rate(f, 'vdt') for f in rounds):,.0f}"]
    row += [f"{median(rate(f, 'vdt') / max(rate(f, n), 1e-9) for f in rounds):.2f}" for n in others]
    for quantile in ("p50", "p99"):
        best = min((latency(n, quantile) for n in others), default=0)
        row.append(f"{latency('vdt', quantile):,.0f}, {best:,.0f}")
    return row


def _pieces(targets, size: int = 4 << 20):
    return [(p, at, min(at + size, end)) for p, start, end in targets for at in range(start, end, size)]


def _cpu(bed: Bed, runs: int, seconds: float):
    """CPU of the server for each GB served warm at 1 MiB ranges, plain and by TLS."""
    rows = []
    tls = self_signed(bed.work)
    for label, pair in [("plain", None), ("TLS", tls)]:
        kinds = [Vdt] + [p for p in installed_peers() if p.name == "nginx"]
        peers = [kind(bed, 1 << 30, 4 << 30, tls=pair).start() for kind in kinds]
        try:
            targets = {peer.name: peer.targets(DATA) for peer in peers}
            found = {peer.name: [] for peer in peers}
            for peer in peers:
                load(bed.work, peer.server, _pieces(targets[peer.name]), peer.cacert, once=True)
            for _ in range(runs):
                for peer in peers:
                    before = peer.cpu_seconds()
                    options = {"range": 1 << 20, "connections": 16, "seconds": seconds, "warmup": 0}
                    done = load(bed.work, peer.server, targets[peer.name], peer.cacert, **options)
                    found[peer.name].append((peer.cpu_seconds() - before) / (done["bytes"] / 1e9))
        finally:
            for peer in peers:
                peer.stop()
        rows.append([label, *(f"{median(found[n]):.3f} s" if n in found else "-" for n in ("vdt", "nginx"))])
    table("CPU of the server for each GB served warm, 1 MiB ranges, 16 connections", ["", "vdt", "nginx"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--tier", choices=["memory", "disk", "cpu"])
    parser.add_argument("--size", help="has no meaning here")
    options = parser.parse_args()
    with Bed() as bed:
        run(bed, options.runs, options.seconds, options.tier)
