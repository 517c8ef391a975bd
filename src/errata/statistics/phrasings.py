"""Facts in several wordings, to learn from what a model's states make of a change of words alone.

Knows texts and where they come from. It knows no model; data sets lie above this floor and are asked by name.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from errata.edit_files import read_edits
from errata.edits import Edit
from errata.errors import BadConfig, did_you_mean
from errata.statistics.corpus import FACTS

SPLITS = ("editor-train", "calibrate")
"""Splits of the facts in the package that no edit of its data sets is about."""


@dataclass(frozen=True)
class Fact:
    """One fact: whom it is about, where that is known, and prompts that ask for it, the plainest first."""

    subject: str | None
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Phrasings:
    """Facts in a fixed order.

    Attributes:
        facts: each with at least two prompts.
        skipped: facts that came in one wording alone.
        digest: SHA-256 (hex) that changes when the prompts do.
        name: what to call them.
    """

    facts: tuple[Fact, ...]
    skipped: int
    digest: str
    name: str


def phrasings_for(source: str | Path | None = None) -> Phrasings:
    """Facts with their wordings: of a file of edits with rephrases, or of a data set.

    Without a source they are facts of the package that none of its data sets edits. Of a data set that has edits to
    learn from, kept apart from those that are tried, they are those.

    Raises:
        BadConfig: there is neither a file nor a data set of this name.
        BadEdit: the file holds no edits.
    """
    if source is None:
        return _packaged()
    datasets = importlib.import_module("errata.datasets")
    if isinstance(source, str) and source in datasets.names():
        found = datasets.get(source)
        if found.holds == "facts":
            return _of(map(_row, found.rows()), source)
        return _of(_joined(map(_edit, found.training() if found.teaches else found.edits())), source)
    path = Path(source)
    if not path.is_file():
        raise BadConfig(f"no file and no data set is called '{path}'.{did_you_mean(str(path), datasets.names())}")
    return _of(map(_edit, read_edits(path)), str(path))


@cache
def _packaged() -> Phrasings:
    found = importlib.import_module("errata.datasets").get(FACTS)
    return _of((_row(row) for split in SPLITS for row in found.rows(split)), FACTS)


def places_of(phrasings: Phrasings, prompts: Iterable[str]) -> list[int]:
    """Where, among all prompts in order, those of the facts stand that are asked for by one of `prompts`."""
    facts = _asking(phrasings)
    return sorted({place for prompt in prompts for place in facts.get(prompt, ())})


@lru_cache(maxsize=4)
def _asking(phrasings: Phrasings) -> dict[str, tuple[int, ...]]:
    """For every prompt the places of all prompts of its fact."""
    found: dict[str, tuple[int, ...]] = {}
    first = 0
    for fact in phrasings.facts:
        places = tuple(range(first, first + len(fact.prompts)))
        found |= {prompt: found.get(prompt, ()) + places for prompt in fact.prompts}
        first += len(fact.prompts)
    return found


def _row(row: Mapping[str, Any]) -> Fact:
    rephrases = (*row.get("rephrases_seen", ()), *row.get("rephrases_held_out", ()))
    return Fact(row.get("subject"), _distinct((row["prompt"], *rephrases)))


def _edit(edit: Edit) -> Fact:
    return Fact(edit.subject, _distinct((edit.prompt, *edit.rephrases)))


def _joined(facts: Iterable[Fact]) -> list[Fact]:
    """Facts that share a wording are one: editors learn from a fact more than once, asked in another wording each."""
    found: dict[str, Fact] = {}
    for fact in facts:
        known = [found[prompt] for prompt in fact.prompts if prompt in found]
        whole = Fact(fact.subject, _distinct(prompt for one in (*known, fact) for prompt in one.prompts))
        found |= dict.fromkeys(whole.prompts, whole)
    return list(dict.fromkeys(found.values()))


def _distinct(prompts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(prompts))


def _of(facts: Iterable[Fact], name: str) -> Phrasings:
    every = tuple(facts)
    kept = tuple(fact for fact in every if len(fact.prompts) > 1)
    text = json.dumps([[fact.subject, *fact.prompts] for fact in kept])
    return Phrasings(kept, len(every) - len(kept), hashlib.sha256(text.encode()).hexdigest(), name)
