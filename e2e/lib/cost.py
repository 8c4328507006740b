"""What a query of a real client costs: its requests to vdt, and those of vdt to the bucket, counted by a proxy on either side."""

from collections import Counter
from dataclasses import dataclass

from .proxy import CountingProxy, Exchange

# Requests to open a table of one commit and to look one artifact up in its one file: what each client was seen to send to a physical table that is laid out
# as well as can be. Half-open.
LOOKUP_REQUESTS = {
    "Polars": range(6, 7),
    "delta-rs dataset": range(6, 7),
    "delta-rs query": range(10, 12),
    "DuckDB": range(8, 9),
}


@dataclass(frozen=True)
class Cost:
    """Requests since the last look at both proxies."""

    asked: list[Exchange]  # of vdt
    read: list[Exchange]  # of the bucket

    @classmethod
    def since(cls, front: CountingProxy, source: CountingProxy) -> "Cost":
        return cls(front.take(), source.take())

    @property
    def by_kind(self) -> dict[str, int]:
        """How many requests vdt was asked, by what for."""
        return dict(Counter(e.kind for e in self.asked))

    @property
    def artifact_gets(self) -> list[Exchange]:
        return [e for e in self.read if e.kind == "data"]

    @property
    def artifact_bytes(self) -> int:
        return sum(e.body_bytes for e in self.artifact_gets)

    @property
    def literal_bytes(self) -> int:
        """What was sent of the table's files and did not come from artifacts."""
        return max(0, sum(e.body_bytes for e in self.asked if e.kind == "data") - self.artifact_bytes)
