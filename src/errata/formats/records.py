"""Records: one JSON value or table row each, which knows its place in the file that it comes from.

Turns the bytes of a file into records. It does not know what a record means: that is in `errata.formats`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from errata.errors import BadEdit, did_you_mean

GZIP_MAGIC = b"\x1f\x8b"


class Record(NamedTuple):
    """One value of a file and where it stands: "FILE:LINE", or "FILE: record N" in a JSON array."""

    place: str
    value: Any


class TableRow(dict[str, Any]):
    """A record of columns: a row of a CSV file, or a JSON object whose fields the user has renamed."""


@contextmanager
def located(place: str) -> Iterator[None]:
    """Begin the message of a BadEdit raised inside with the place of the record it is about."""
    try:
        yield
    except BadEdit as error:
        raise BadEdit(f"{place}: {error}") from None


def field_names(records: Sequence[Record]) -> list[str]:
    """List every field that one of the records has, in the order in which they occur."""
    return list(dict.fromkeys(name for _, value in records if isinstance(value, dict) for name in value))


def rename_columns(records: Sequence[Record], mapping: Mapping[str, str], *, source: str) -> list[Record]:
    """Give fields of the records other names, which makes the records rows of a table.

    A field that had a new name before is gone.

    Args:
        records: as they were read.
        mapping: the name that a field gets, and the name that it has in the file; not empty.
        source: where the records come from, for messages.

    Raises:
        BadEdit: no record has a field that is to be renamed.
    """
    present = field_names(records)
    for new, old in mapping.items():
        if old not in present:
            hint = did_you_mean(old, present)
            raise BadEdit(f"{source}: no column '{old}' to read as '{new}'.{hint} It has {', '.join(present)}")
    return [Record(place, _renamed(value, mapping)) for place, value in records]


def _renamed(value: Any, mapping: Mapping[str, str]) -> Any:
    if not isinstance(value, dict):
        return value
    moved = set(mapping.values()) | {new for new, old in mapping.items() if old in value}
    others = {name: item for name, item in value.items() if name not in moved}
    found = {new: value[old] for new, old in mapping.items() if old in value}
    return TableRow(found | others)


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text, gzipped or not, without its byte-order mark.

    Raises:
        BadEdit: the file cannot be read, is no UTF-8 or is a truncated gzip.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw
        return content.decode("utf-8-sig")  # editors on Windows put a byte-order mark first
    except UnicodeDecodeError as error:
        raise BadEdit(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BadEdit(f"{path}: the gzip data is cut short or damaged; copy the file again") from None
    except OSError as error:
        raise BadEdit(f"{path}: cannot be read ({error.strerror}); check the path") from None


def parse_json(path: Path, text: str) -> list[Record]:
    """Read JSON Lines, or a JSON array; blank lines are skipped.

    Raises:
        BadEdit: the text is no JSON or holds no record.
    """
    records = _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    if not records:
        raise BadEdit(f"{path}: the file is empty; write one JSON object per line")
    return records


def _array(path: str | os.PathLike[str], text: str) -> list[Record]:
    values = _parse(path, 1, text, "close every bracket of the array, or write one object per line")
    return [Record(f"{path}: record {number}", value) for number, value in enumerate(values, start=1)]


def _lines(path: str | os.PathLike[str], text: str) -> list[Record]:
    return [
        Record(f"{path}:{number}", _parse(path, number, line, "write one JSON object per line"))
        for number, line in enumerate(text.split("\n"), start=1)  # splitlines would also split inside JSON strings
        if line.strip()
    ]


def _parse(path: str | os.PathLike[str], first_line: int, text: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise BadEdit(f"{path}:{line}: not valid JSON at column {error.colno} ({error.msg}); {remedy}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise BadEdit(f"{path}:{first_line}: the JSON holds a value too large to read; {remedy}") from None
