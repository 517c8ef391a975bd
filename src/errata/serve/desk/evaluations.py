"""What evaluations of a sheet said, `evaluations.jsonl`: kept so that figures can be followed over its edits.

One JSON object a line, oldest first. Knows that file and figures; measures nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from errata.durable import write_atomic
from errata.errors import BadSheet
from errata.journal.store import explained

FILE = "evaluations.jsonl"
KEPT = 1000  # the newest ones
FIELDS = ("head", "edits", "figures")  # of a report; its answers are not kept


class Evaluations:
    """The evaluations in one sheet's file."""

    def __init__(self, sheet: Path) -> None:
        self.path = sheet / FILE
        self._lock = threading.Lock()

    def all(self) -> list[dict[str, Any]]:
        """Each with `time` (ISO 8601, UTC), `head`, `edits` and `figures`. Raises BadSheet."""
        with explained(self.path):
            lines = self.path.read_bytes().splitlines() if self.path.is_file() else []
        try:
            return [{name: value[name] for name in ("time", *FIELDS)} for value in map(json.loads, lines)]
        except (ValueError, TypeError, KeyError) as error:
            raise BadSheet(f"{self.path} cannot be read ({error}); restore it from a copy or remove it") from error

    def add(self, report: Mapping[str, Any]) -> None:
        """Keep the figures of a report, as of now. Raises BadSheet."""
        row = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **{name: report[name] for name in FIELDS}}
        with self._lock:
            rows = [*self.all(), row][-KEPT:]
            with explained(self.path):
                write_atomic(self.path, "".join(json.dumps(one) + "\n" for one in rows).encode())
