"""Facts to look for in a model: what is asked, about whom, and the answer it should give by itself.

Knows edits and tables of facts, and asks a model which of them it knows. It does not know where anything is stored.
"""

from __future__ import annotations

import hashlib
import importlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errata.edits import Edit
from errata.errors import BadEdit
from errata.models import EditableModel
from errata.registry import LAB_PREFIX

_ASKED = 64  # facts asked in one forward

# Fields that only the rows of a table of facts have, and which of them holds the true answer.
_TABLES = {"rephrases_seen": "target", "attribute": "attribute"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a model may know.

    Attributes:
        prompt: what is asked.
        subject: whom it is about, as written in the prompt.
        answer: what a model that knows the fact goes on with.
    """

    prompt: str
    subject: str
    answer: str

    @property
    def key(self) -> str:
        """A short name that no other fact has, the same in every run."""
        return hashlib.sha256(f"{self.prompt}\0{self.subject}\0{self.answer}".encode()).hexdigest()[:16]


def facts_of(edits: Iterable[Edit], source: str = "the edits") -> list[Fact]:
    """The true fact behind each edit: its ground truth where it names one, else its target.

    Edits without a subject are left out.

    Raises:
        BadEdit: none names a subject.
    """
    facts = [
        Fact(edit.prompt, edit.subject, edit.ground_truth or edit.target)
        for edit in edits
        if edit.subject is not None
    ]
    if not facts:
        raise BadEdit(f"no record of {source} names a subject, which tracing needs; add a 'subject' to each")
    return facts


def states_facts(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the rows of a data set state what is true ("lab-facts", "known-1000") and are not edits."""
    return _answer_field(rows[0]) is not None


def as_edits(rows: Iterable[Mapping[str, Any]], source: str = "the table") -> list[Edit]:
    """The rows of a table of facts as edits whose target is the true answer.

    Raises:
        BadEdit: a row is no fact; the message has its number.
    """
    edits = []
    for number, row in enumerate(rows, start=1):
        field = _answer_field(row)
        if field is None or "prompt" not in row:
            raise BadEdit(f"{source}: record {number} has no prompt and answer; give a table of facts, or edits")
        try:
            edits.append(
                Edit(
                    row["prompt"],
                    row[field],
                    subject=row.get("subject"),
                    rephrases=tuple(row.get("rephrases_seen", ())),
                )
            )
        except BadEdit as error:
            raise BadEdit(f"{source}: record {number}: {error}") from None
    return edits


def default_facts(model: EditableModel, split: str | None = None) -> tuple[str, list[Edit]]:
    """Facts that a model of this kind is likely to know, and the name of their data set: a lab model's own, else
    known-1000 (Meng et al., 2022). `split` takes one part of a data set that has parts.
    """
    datasets = importlib.import_module("errata.datasets")  # by name: data sets lie above this floor
    name = "lab-facts" if model.name.startswith(LAB_PREFIX) else "known-1000"
    rows = datasets.get(name).rows()
    return name, as_edits((row for row in rows if split is None or row.get("split", split) == split), name)


def sampled(facts: Iterable[Fact], seed: int) -> list[Fact]:
    """Every fact once, in an order that depends on the seed and on what facts there are, not on theirs."""
    ordered = sorted({fact.key: fact for fact in facts}.items())
    random.Random(seed).shuffle(ordered)
    return [fact for _, fact in ordered]


def known(model: EditableModel, facts: Sequence[Fact]) -> Iterator[tuple[Fact, bool]]:
    """The facts in turn, each with whether the model's first choice is every token of its answer after its prompt.

    What it writes after the answer does not count. The model is asked only as far as the caller goes.
    """
    for start in range(0, len(facts), _ASKED):
        part = facts[start : start + _ASKED]
        batch = model.encode([fact.prompt for fact in part], [fact.answer for fact in part], end=False)
        yield from zip(part, model.greedy_match(batch).tolist(), strict=True)


def _answer_field(row: Mapping[str, Any]) -> str | None:
    return next((field for mark, field in _TABLES.items() if mark in row), None)
