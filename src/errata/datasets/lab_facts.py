"""The facts that the lab's models were trained on: how each is phrased and what lies next to it.

Facts, not edits: a row says what is true and asks for no change.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from errata.datasets._base import Dataset, register_dataset
from errata.edits import Edit, Probe
from errata.errors import BadEdit, unknown_name
from errata.formats import Record, read_records

FILE = Path(__file__).parents[1] / "lab" / "data" / "lab-facts.jsonl.gz"


class LabFacts(Dataset):
    """Rows of subject, relation, prompt, target, rephrases_seen, rephrases_held_out, neighbours,
    same_subject, known (whether the lab's model answers right) and split.
    """

    @property
    def holds(self) -> str:
        return "facts"

    def edits(self) -> list[Edit]:
        """None: a fact asks for no change, and Errata invents no answers. Raises BadEdit, always."""
        raise BadEdit(f"data set '{self.name}' holds facts and no edits; use its rows, or edit 'counterfact'")

    def upstream(self) -> list[Probe]:
        """Facts of the split "locality" that the lab's model knows, each with its true answer."""
        known = [row for row in self.rows("locality") if row["known"]]
        return [Probe(row["prompt"], row["target"]) for row in known]

    def rows(self, split: str | None = None) -> list[dict[str, Any]]:
        """Every fact, or those of one split.

        Raises:
            UnknownName: no row belongs to this split.
            BadEdit: the file cannot be read.
        """
        rows = super().rows()
        splits = {row["split"] for row in rows}
        if split is not None and split not in splits:
            raise unknown_name("split", split, splits)
        return [row for row in rows if split is None or row["split"] == split]

    def _records(self) -> list[Record]:
        """Read once as long as the file stays as it is: a dozen data sets are drawn from it."""
        file = self._file()
        written = file.stat().st_mtime_ns if file.exists() else 0
        return [Record(record.place, dict(record.value)) for record in _read(file, written)]


@register_dataset("lab-facts")
def lab_facts() -> LabFacts:
    """Every fact of the lab, by subject and relation."""
    return LabFacts(
        name="lab-facts",
        description="true facts with seen and held-out phrasings, the training data of the lab's models",
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="CounterFact, ParaRel, the World Factbook and public tables: see errata/lab/data/SOURCES.md",
        records=len(_read(FILE, FILE.stat().st_mtime_ns)),  # counted, because training a lab model writes the file anew
        path=FILE,
    )


def rows(split: str | None = None) -> list[dict[str, Any]]:
    """The rows of the data set "lab-facts", all or those of one split (see `LabFacts.rows`)."""
    return lab_facts().rows(split)


@lru_cache(maxsize=1)
def _read(path: Path, written: int) -> list[Record]:
    """The records of a file last written at that time, in nanoseconds."""
    return read_records(path)
