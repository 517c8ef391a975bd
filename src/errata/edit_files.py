"""Files of edits: JSON Lines, arrays and tables, in Errata's own form and in others, read strictly and written whole.

Knows formats and what may not occur twice in a file. What makes an edit valid is in `edits`.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from errata.edits import Edit
from errata.errors import BadEdit
from errata.fields import drop_empty
from errata.formats import (
    NATIVE,
    TABLE,
    Record,
    located,
    map_fields,
    read_records,
    resolve_format,
    translate,
    translate_rows,
)
from errata.prompts import quote

REQUIRED = ("prompt", "messages", "target", "replace")  # an empty one is an error, an empty other field none

log = logging.getLogger(__name__)


def read_edits(
    path: str | os.PathLike[str], format: str = "auto", mapping: Mapping[str, str] | None = None
) -> list[Edit]:
    """Read the edits of a file: JSON Lines, a JSON array, or a table (.csv, .tsv), gzipped or not.

    Args:
        path: the file.
        format: "errata" (the form of `Edit.to_json`), "table" (columns such as prompt, target and was), "chat"
            (conversations that end with the good answer), "preference" (a good and a bad answer), "feedback" (input,
            output and correction), "counterfact" (ROME's full schema), "easyedit" (EasyEdit's flat CounterFact,
            KnowEdit), "zsre" (MEND's flat form), "wikibio" (KnowEdit), "canonical" (canonical examples: prefix and
            suffix), or "auto": by the fields of the first record.
        mapping: fields that the file names otherwise: {"prompt": "question", "target": "answer"}. Fields that no edit
            has are then left out with a warning, as they are of a table.

    In Errata's own form and in tables a repeated prompt or id is an error. The other formats hold independent
    cases, and some repeat a prompt with another target or have an empty one: there the first case of a prompt
    counts, and what was left out is logged as a warning. An optional field that is empty counts as left out.

    Raises:
        BadEdit: the file or a record is malformed; the message starts with "FILE:LINE:", or with
            "FILE: record N:" in a JSON array.
        UnknownName: no such format, or no such field to map.
    """
    return edits_of(read_records(path), format, mapping, source=os.fspath(path))


def edits_of(
    records: Sequence[Record], format: str = "auto", mapping: Mapping[str, str] | None = None, *, source: str
) -> list[Edit]:
    """Turn records that are read already into edits, under the rules of `read_edits`.

    Args:
        records: at least one.
        format: as in `read_edits`.
        mapping: as in `read_edits`.
        source: where they come from, for messages.

    Raises:
        BadEdit: a record is malformed; the message starts with its place.
        UnknownName: no such format, or no such field to map.
    """
    records = map_fields(records, mapping, source=source)
    layout = resolve_format(format, records)
    if layout == TABLE:
        return _native(translate_rows(records, source=source))
    return _native(records) if layout == NATIVE else _published(source, records, layout)


def write_edits(path: str | os.PathLike[str], edits: Iterable[Edit]) -> None:
    """Write edits as JSON Lines, gzipped where the name ends in .gz: the whole file or, on failure, nothing.

    Raises:
        BadEdit: there are no edits, two share a prompt or an id, or the file cannot be written.
    """
    path, seen = Path(path), {}
    lines = []
    for number, edit in enumerate(edits, start=1):
        place = f"edit {number}"
        with located(f"{path}: {place}"):
            _refuse_repeats(edit, place, seen)
        lines.append(json.dumps(edit.to_json(), ensure_ascii=False) + "\n")
    if not lines:
        raise BadEdit(f"{path}: there are no edits to write; pass at least one")
    content = "".join(lines).encode()
    _replace(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _native(records: Sequence[Record]) -> list[Edit]:
    edits, seen = [], {}
    for place, value in records:
        with located(place):
            edit = Edit.from_json(drop_empty(value, REQUIRED) if isinstance(value, dict) else value)
            _refuse_repeats(edit, place, seen)
        edits.append(edit)
    return edits


def _published(source: str, records: Sequence[Record], layout: str) -> list[Edit]:
    edits: dict[tuple[str, ...], Edit] = {}
    left_out = []
    for place, value in records:
        with located(place):
            plain = translate(layout, value)
            edit = None if plain is None else Edit.from_json(plain)
            if edit is None or edit.topic in edits:
                left_out.append(place)
            else:
                edits[edit.topic] = edit
    if not edits:
        raise BadEdit(f"{source}: no record has both a prompt and a target that is new; check the file and the format")
    if left_out:
        log.warning(
            "%s: left out %d of %d records that repeat a prompt or have no target; the first is %s",
            *(source, len(left_out), len(records), left_out[0]),
        )
    return list(edits.values())


def _refuse_repeats(edit: Edit, place: str, seen: dict[tuple[str, ...], str]) -> None:
    asked = tuple(part.strip() for part in edit.topic)
    for field, value, key in (("prompt", edit.prompt.strip(), asked), ("id", edit.id, (str(edit.id),))):
        if value is None:
            continue
        first = seen.setdefault((field, *key), place)
        if first != place:
            raise BadEdit(f"the {field} {quote(value)} is already that of {first}; keep one of the two")


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise BadEdit(f"{path}: cannot be written ({error.strerror}); check the folder and its rights") from None
    finally:
        with suppress(OSError):
            partial.unlink()
