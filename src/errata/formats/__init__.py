"""Files of records, and the JSON form of the edit that each record asks for.

Finds out which layout a file has and translates its records. It does not know what makes an edit valid: that is
`errata.edits`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata import fields
from errata.errors import BadEdit, unknown_name
from errata.fields import Fields
from errata.formats import benchmarks, conversations
from errata.formats.records import Record, TableRow, located, parse_json, read_text, rename_columns
from errata.formats.tables import COLUMNS, is_table, parse_table, translate_rows

__all__ = [
    "NATIVE", "TABLE", "Record", "is_table", "located", "map_fields", "read_records", "resolve_format", "translate",
    "translate_rows",
]  # fmt: skip

NATIVE, TABLE = "errata", "table"


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
    "preference": Layout(conversations.read_preference, conversations.is_preference),
    "feedback": Layout(conversations.read_feedback, conversations.is_feedback),
    "chat": Layout(conversations.read_chat, conversations.is_chat),
}
PAIRED = ("chosen", "rejected", "input", "preferred_output", "non_preferred_output", "output", "correction")
MAPPABLE = (*COLUMNS, *PAIRED)


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """Read every record of a JSON Lines file, a JSON array, or a .csv or .tsv file with a header; gzipped or not.

    Blank lines are skipped.

    Raises:
        BadEdit: the file cannot be read, is no UTF-8, JSON or table, is a truncated gzip, or holds no record.
    """
    path = Path(path)
    return (parse_table if is_table(path) else parse_json)(path, read_text(path))


def map_fields(records: Sequence[Record], mapping: Mapping[str, str] | None, *, source: str) -> Sequence[Record]:
    """Rename the fields of records that somebody else has named; as they are without a mapping.

    Args:
        records: as they were read.
        mapping: the name that a format here has for a field, and the name in the file: {"prompt": "question"}.
        source: where the records come from, for messages.

    Raises:
        UnknownName: no format that can be mapped to has such a field.
        BadEdit: no record has a field that is to be renamed.
    """
    if not mapping:
        return records
    for name in mapping:
        if name not in MAPPABLE:
            raise unknown_name("field to map", name, MAPPABLE)
    return rename_columns(records, mapping, source=source)


def resolve_format(name: str, records: Sequence[Record]) -> str:
    """Return the format `name`; for "auto" the one whose fields the first record has, else the native one.

    Rows of a table that have no other format are of the format "table" (`translate_rows`).

    Raises:
        UnknownName: no such format.
    """
    if name == "auto":
        first = records[0].value
        if not isinstance(first, dict):
            return NATIVE
        otherwise = TABLE if isinstance(first, TableRow) else NATIVE
        return next((name for name, layout in LAYOUTS.items() if layout.recognizes(first)), otherwise)
    if name not in (NATIVE, TABLE) and name not in LAYOUTS:
        raise unknown_name("format", name, ["auto", NATIVE, TABLE, *LAYOUTS])
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
