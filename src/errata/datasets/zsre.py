"""zsRE: question answering by relation extraction (Levy et al., 2017), as edited in KnowEdit's test set."""

from __future__ import annotations

import hashlib

from errata.datasets._base import Dataset, register_dataset
from errata.datasets._knowedit import knowedit
from errata.edit_files import edits_of
from errata.edits import Edit
from errata.formats import Record


class Zsre(Dataset):
    """The whole test set in `edits()`, and half of it, by subject, in `training()`.

    KnowEdit's test set is all that ships, so an editor that learned from `training()` has seen half of `edits()`: try
    it on the other half, the data set "zsre-held-out".
    """

    def training(self) -> list[Edit]:
        """The records of the `learned` half, without those that ask for what is true or have nothing to test by.

        Rephrases and locality (other relations of the same subject) are the record's own. Raises BadEdit as `edits`.
        """
        half = [record for record in self._published() if learned(record)]
        edits = edits_of(half, self.format, source=str(self.path or self.hub))
        return [edit for edit in edits if edit.target != edit.ground_truth and edit.rephrases and edit.locality]

    def _published(self) -> list[Record]:
        """Every record, whichever half it belongs to."""
        return super()._records()


def learned(record: Record) -> bool:
    """Whether editors learn from a record: half of the subjects, chosen by a hash of their names.

    A record that names no subject is chosen by all that it says.
    """
    subject = record.value.get("subject") if isinstance(record.value, dict) else None
    return hashlib.sha256(str(subject or record.value).strip().casefold().encode()).digest()[0] % 2 == 0


@register_dataset("zsre")
def zsre() -> Dataset:
    """Questions with a rephrasing, and probes of other relations of the same subject."""
    return knowedit("zsre", 1286, "questions with a new answer, a rephrasing and portability", kind=Zsre)
