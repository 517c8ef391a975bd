"""What `errata serve` can be told, in one place. Knows names and defaults; acts on nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_METHOD = "auto"  # of edits that name none
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """Attributes:
    sheet: directory of the sheet; made if it is not there and `model` is given.
    model: what a new sheet corrects; None: the sheet's own.
    host, port: where to listen.
    journal: URL of a database that keeps the journal, None: the sheet's directory does.
    gate: conditions that every edit has to pass, in the language of `errata.evaluate.gate`.
    require_key: asking needs a key too, once there are any.
    allowed_hosts: names, besides the local ones and `host`, by which the server may be called; "*" for any.
    max_batch, max_waiting: rows that are decoded together, and requests that may wait for a row.
    timeout: seconds until an answer is given up.
    max_edits_waiting: changes of the sheet that may wait for the one under way.
    edit_timeout: seconds until a change is given up.
    rate, burst: requests a second of one key or address in the long run, and at once; a rate of 0 sets no limit.
    max_body: bytes of a request.
    max_rows: answers to one request: its prompts, times `n`.
    """

    sheet: Path
    model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    journal: str | None = None
    gate: str | None = None
    require_key: bool = False
    allowed_hosts: tuple[str, ...] = ()
    max_batch: int = 32
    max_waiting: int = 256
    timeout: float = 60.0
    max_edits_waiting: int = 16
    edit_timeout: float = 600.0
    rate: float = 100.0
    burst: int = 200
    max_body: int = 1 << 20
    max_rows: int = 128

    @property
    def names(self) -> frozenset[str]:
        """Host names under which the server answers."""
        return frozenset({*LOCAL, self.host, *self.allowed_hosts})
