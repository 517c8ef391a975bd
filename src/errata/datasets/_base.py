"""What a data set is, and the registry that finds them. Knows no data set in particular."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata.edits import Edit, read_edits
from errata.errors import BadEdit
from errata.formats import read_records
from errata.registry import Registry

DATA = Path(__file__).parent / "data"

DATASETS: Registry[Callable[[], Dataset]] = Registry("data set", "errata.datasets", "errata.datasets")
register_dataset = DATASETS.register


@dataclass(frozen=True)
class Dataset:
    """A file of records, with what a reader should know before quoting a figure from it.

    Attributes:
        name: what it is called here.
        description: one line on what a record holds.
        licence: SPDX identifier, or "unknown" for the user's own file.
        source: repository and path, or paper, that published it.
        records: how many records the file has.
        path: the file; None where the licence forbids to ship it and the user must point to a copy.
        format: a format of `errata.edits.read_edits`.
    """

    name: str
    description: str
    licence: str
    source: str
    records: int
    path: Path | None
    format: str = "auto"

    def edits(self) -> list[Edit]:
        """The edits, one prompt never twice (see `errata.edits.read_edits`).

        Raises:
            BadEdit: the file is malformed or is not in the package.
        """
        return read_edits(self._file(), self.format)

    def rows(self) -> list[dict[str, Any]]:
        """The records as published, with the fields that an Edit has no place for.

        In the data sets of the package row i belongs to edit i.

        Raises:
            BadEdit: the file cannot be read or is not in the package.
        """
        return [record.value for record in read_records(self._file())]

    def _file(self) -> Path:
        if self.path is None:
            raise BadEdit(f"data set '{self.name}' is not in the package; pass a file's path ({self.source})")
        return self.path
