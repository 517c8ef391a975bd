"""Files of records, and the JSON form of the edit that each record asks for.

Finds out which layout a file has and translates its records. It does not know what makes an edit valid: that is
`errata.edits`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata import fields
from errata.errors import BadEdit, unknown_name
from errata.fields import Fields
from errata.formats import benchmarks
from errata.formats.records import Record, located, parse_json, read_text

__all__ = ["NATIVE", "Record", "located", "read_records", "resolve_format", "translate"]

NATIVE = "errata"


class Layout(NamedTuple):
    """How records of one published form are told from others, and read.

    Attributes:
        read: the JSON form of the edit that a record asks for; None where it asks for nothing.
        recognizes: whether a record has this form, by its fields.
    """

    read: Callable[[Fields], Fields | None]
    recognizes: Callable[[Fields], bool]


def _having(*names: str) -> Callable[[Fields], bool]:
    return lambda record: record.keys() >= set(names)


LAYOUTS: dict[str, Layout] = {
    "counterfact": Layout(benchmarks.read_counterfact, _having("requested_rewrite")),
    "zsre": Layout(benchmarks.read_zsre, _having("src", "alt")),
    "wikibio": Layout(benchmarks.read_wikibio, _having("text", "labels", "concept")),
    "easyedit": Layout(benchmarks.read_easyedit, _having("prompt", "target_new")),
    "canonical": Layout(benchmarks.read_canonical, _having("prefix")),
}


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """Read every record of a JSON Lines file or a JSON array, gzipped or not; blank lines are skipped.

    Raises:
        BadEdit: the file cannot be read, is no UTF-8 or JSON, is a truncated gzip, or holds no record.
    """
    path = Path(path)
    return parse_json(path, read_text(path))


def resolve_format(name: str, records: Sequence[Record]) -> str:
    """Return the format `name`; for "auto" the one that the first record has, else the native one.

    Raises:
        UnknownName: no such format.
    """
    if name == "auto":
        first = records[0].value
        if not isinstance(first, dict):
            return NATIVE
        return next((name for name, layout in LAYOUTS.items() if layout.recognizes(first)), NATIVE)
    if name != NATIVE and name not in LAYOUTS:
        raise unknown_name("format", name, ["auto", NATIVE, *LAYOUTS])
    return name


def translate(layout: str, value: Any) -> Fields | None:
    """Return the JSON form of the edit that a record of a published layout asks for.

    None for a record that asks for nothing (no prompt or no target), of which published files hold a few.

    Raises:
        BadEdit: the record has another shape.
    """
    if not isinstance(value, dict):
        raise BadEdit(f"a {layout} record is a JSON object, not {fields.kind(value)}; check the format")
    return LAYOUTS[layout].read(value)
