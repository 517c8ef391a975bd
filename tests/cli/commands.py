"""What a command of the command line printed, and what a directory holds: shorthands for its tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows = json.loads(self.out)
        assert isinstance(rows, list)
        return rows

    def one_line_error(self, *parts: str) -> None:
        """Asserts exit code 2, nothing on stdout and one line on stderr that holds every part."""
        assert (self.code, self.out) == (2, "")
        assert self.err.startswith("errata: ")
        assert self.err.count("\n") == 1
        for part in parts:
            assert part in self.err, self.err


Run = Callable[..., Ran]


def content(directory: Path) -> dict[str, bytes]:
    """Every file of a directory, by relative path."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
