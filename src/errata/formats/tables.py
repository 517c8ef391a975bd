"""Tables of corrections: CSV files, and records whose fields the user has mapped to those of an edit.

Knows delimiters, headers and cells, and which columns an edit is read from. Columns that no edit has are left out
with a warning, as spreadsheets have columns of their own.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from errata.errors import BadEdit, did_you_mean
from errata.fields import Fields
from errata.formats.records import Record, TableRow, field_names, located

log = logging.getLogger(__name__)

DELIMITERS = {".csv": ",", ".tsv": "\t"}
COLUMNS = (
    *("prompt", "target", "was", "ground_truth", "subject", "id", "system", "rephrases"),
    *("messages", "replace", "raw", "locality", "portability", "goal", "rival"),
)
REQUIRED = {"prompt": "messages", "target": "replace"}  # and the field that an edit may have in its place
OFTEN_CALLED = {
    "prompt": ("question", "input", "query", "instruction"),
    "target": ("answer", "correction", "correct", "output", "completion", "response"),
}


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name: .csv or .tsv, perhaps followed by .gz."""
    return _extension(path) in DELIMITERS


def parse_table(path: Path, text: str) -> list[Record]:
    """Read the rows of a table whose first line names the columns; blank rows are skipped.

    Raises:
        BadEdit: there is no header or no row, a column is there twice, a row has more cells than the header, or
            a quote is not closed.
    """
    rows = list(_rows(path, text, _delimiter(text, DELIMITERS[_extension(path)])))
    if not rows:
        raise BadEdit(f"{path}: the file is empty; write a header such as prompt,target and one correction per line")
    (first, header), *rest = rows
    columns = [name or f"column {number}" for number, name in enumerate(header, start=1)]
    while not header[len(columns) - 1] and not any(any(cells[len(columns) - 1 :]) for _, cells in rest):
        columns.pop()  # spreadsheets write delimiters after the last column
    for name in columns:
        if columns.count(name) > 1:
            raise BadEdit(f"{path}:{first}: the column '{name}' is there twice; rename one of the two")
    if not rest:
        raise BadEdit(f"{path}: there are no rows below the header; write one correction per line")
    return [_row(f"{path}:{line}", columns, cells) for line, cells in rest]


def translate_rows(records: Sequence[Record], *, source: str) -> list[Record]:
    """Turn rows into the JSON form of edits; columns that no edit has are left out and logged as a warning.

    Raises:
        BadEdit: a column that is needed is missing, or a row has both `was` and `ground_truth`.
    """
    names = field_names(records)
    _require_columns(names, source)
    ignored = [name for name in names if name not in COLUMNS]
    if ignored:
        hints = "".join(did_you_mean(name, set(COLUMNS) - set(names)) for name in ignored)
        log.warning("%s: left out columns that no edit has: %s.%s", source, ", ".join(ignored), hints)
    return [Record(place, _edit(place, value) if isinstance(value, dict) else value) for place, value in records]


# Text to rows


def _extension(path: Path) -> str:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def _delimiter(text: str, usual: str) -> str:
    """Return the delimiter that splits the first line with text into most cells; the usual one of several."""
    start = text.lstrip("\r\n")

    def count_cells(delimiter: str) -> int:
        try:
            return len(next(csv.reader(io.StringIO(start, newline=""), delimiter=delimiter), []))
        except csv.Error:
            return 0

    return max((usual, ",", ";", "\t"), key=count_cells)


def _rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, without the spaces around its cells, and the line where it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            remedy = 'put quotes around text that holds the delimiter, and write a quote inside it as ""'
            raise BadEdit(f"{path}:{line}: not a valid row ({error}); {remedy}") from None
        if any(cells):
            yield line, cells


def _row(place: str, columns: Sequence[str], cells: Sequence[str]) -> Record:
    if any(cells[len(columns) :]):
        raise BadEdit(
            f"{place}: {len(cells)} cells for {len(columns)} columns; put quotes around text that holds the delimiter"
        )
    padded = [*cells, *[""] * (len(columns) - len(cells))]
    return Record(place, TableRow(zip(columns, padded, strict=False)))


# Rows to edits


def _require_columns(names: Collection[str], source: str) -> None:
    missing = [name for name, instead in REQUIRED.items() if name not in names and instead not in names]
    if not missing:
        return
    free = [name for name in names if name not in COLUMNS]
    pairs = []
    for name in missing:
        likely = [own for often in (name, *OFTEN_CALLED[name]) for own in free if own.lower() == often]
        column = next(iter([*likely, *free]), "COLUMN")
        free = [own for own in free if own != column]
        pairs.append(f"--map {name}={column}")
    wanted = " and ".join(f"'{name}'" for name in missing)
    columns, it = ("columns", "them") if len(missing) > 1 else ("column", "it")
    raise BadEdit(f"{source}: no {columns} {wanted}; it has {', '.join(names)}; map {it} with {' '.join(pairs)}")


def _edit(place: str, row: Fields) -> Fields:
    """Return the JSON form of the edit that a row asks for."""
    edit: dict[str, Any] = {name: value for name, value in row.items() if name in COLUMNS}
    was, system = edit.pop("was", None), edit.pop("system", None)
    if isinstance(edit.get("rephrases"), str):
        edit["rephrases"] = re.split(r"\s+\|\s+", edit["rephrases"])
    if isinstance(edit.get("id"), int):
        edit["id"] = str(edit["id"])
    if was:
        with located(place):
            if edit.get("ground_truth"):
                raise BadEdit("'was' and 'ground_truth' are both the old answer; leave one of the two out")
        edit["ground_truth"] = was
    if system and edit.get("prompt") and "messages" not in edit:
        edit["messages"] = _under(system, edit.pop("prompt"))
        if isinstance(edit.get("rephrases"), list):
            edit["rephrases"] = [_under(system, text) if text else text for text in edit["rephrases"]]
    return edit


def _under(system: str, text: Any) -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]
