"""A file that grows by one finished result a line, so that long work goes on where it was interrupted.

Knows lines of JSON and what they belong to; nothing of what they mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from errata.errors import BadConfig


class Record:
    """Results by key, in memory and, with a path, on the disk.

    The first line of the file says what work the results belong to. A last line that was cut off is dropped.
    """

    def __init__(self, path: Path | None, work: Mapping[str, Any]) -> None:
        """Open, and take up what is there.

        Raises:
            BadConfig: the file belongs to other work, or is not such a file.
        """
        self.results: dict[str, Any] = {}
        self._stream = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b")
        try:
            self._take_up(path, json.loads(json.dumps(work)))
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, key: str, result: Any) -> None:
        """Keep a result; when this returns it is on the disk."""
        self.results[key] = result
        self._write({"key": key, "result": result})

    def _take_up(self, path: Path, work: Any) -> None:
        assert self._stream is not None
        self._stream.seek(0)
        whole = 0
        for number, line in enumerate(self._stream):
            if not line.endswith(b"\n"):
                break
            value = self._parsed(path, line)
            if number == 0 and value.get("work") != work:
                raise BadConfig(f"{path} holds results of other work{_difference(value, work)}; give another directory")
            if number:
                self.results[value["key"]] = value["result"]
            whole += len(line)
        self._stream.truncate(whole)
        if not whole:
            self._write({"work": work})

    @staticmethod
    def _parsed(path: Path, line: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except ValueError:
            raise BadConfig(f"{path} is not a file of results; give another directory") from None

    def _write(self, value: Any) -> None:
        if self._stream is not None:
            self._stream.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())


def _difference(value: Mapping[str, Any], work: Mapping[str, Any]) -> str:
    """The first thing in which the work differs, for a message."""
    old = value.get("work")
    if not isinstance(old, dict):
        return ""
    name = next((name for name in work if old.get(name) != work[name]), None)
    return f" ({name}: {old.get(name)}, not {work[name]})" if name else ""
