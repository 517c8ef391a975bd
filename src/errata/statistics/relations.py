"""What may be asked about a subject, in many wordings: questions, and beginnings of sentences.

Half of the sentences' wordings are kept back by their hash, whatever relation or source they come from: nothing is
learned from those, so that benchmarks can ask them. Data sets lie above this floor and are asked by name.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from errata.scope.lessons import Relation
from errata.statistics.corpus import FACTS
from errata.statistics.phrasings import SPLITS
from errata.words import words

FILE = Path(__file__).parent / "data" / "relations.json"


@cache
def _data() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def alike(relation: str) -> frozenset[str]:
    """Return the relations that ask for nearly the same as one, itself included."""
    return frozenset({relation}).union(*(group for group in _data()["alike"] if relation in group))


def relation_type(relation: str) -> str | None:
    """Return what a relation is about: "person", "work", "product", "company" or "place"; None if that is not known."""
    told = _data()["relations"].get(relation)
    return told["type"] if told else None


def is_held_out(wording: str) -> bool:
    """Return whether the wording of a sentence, with {} for its subject, is kept back for benchmarks."""
    return hashlib.sha256(" ".join(words(wording)).encode()).digest()[0] % 2 == 1


@cache
def sentences() -> dict[str, tuple[str, ...]]:
    """Return by relation the beginnings of sentences that may be learned from, with {} for the subject."""
    found = {name: list(told["statements"]) for name, told in _data()["relations"].items()}
    datasets = importlib.import_module("errata.datasets")
    for row in (row for split in SPLITS for row in datasets.get(FACTS).rows(split)):
        for text in (row["prompt"], *row["rephrases_seen"], *row["rephrases_held_out"]):
            found.setdefault(row["relation"], []).append(text.replace(row["subject"], "{}"))
    for row in datasets.get("counterfact").rows():
        told = row["requested_rewrite"]
        found.setdefault(told["relation_id"], []).append(told["prompt"])
    kept = {name: tuple(dict.fromkeys(one for one in all if one.count("{}") == 1 and not is_held_out(one)))
            for name, all in found.items()}  # fmt: skip
    return {name: texts for name, texts in kept.items() if texts}


def ends_as_learned(text: str, subject: str) -> bool:
    """Return whether a text ends in a wording that may be learned from, of whatever relation, about a subject.

    What stands before the wording makes it no other: CounterFact's paraphrases begin with scraps of other texts.
    """
    read = words(text)
    filled = (words(one.replace("{}", subject)) for texts in sentences().values() for one in texts)
    return any(read[-len(wording) :] == wording for wording in filled)


@cache
def questions() -> dict[str, tuple[str, ...]]:
    """Return by relation the questions that may be learned from, with {} for the subject."""
    asked = importlib.import_module("errata.lab.questions")
    own = {name: asked.seen(name) for name in asked.relations()}
    tested = {" ".join(words(text)) for name in own for text in asked.templates(name, "held_out")}
    written = {name: told["questions"] for name, told in _data()["relations"].items()}
    return {
        name: tuple(dict.fromkeys(
            [*own.get(name, ()), *(one for one in written.get(name, ()) if " ".join(words(one)) not in tested)]
        ))
        for name in sorted({*own, *written})
    }  # fmt: skip


@cache
def relations() -> tuple[Relation, ...]:
    """Return every relation with all wordings that may be learned from."""
    said, asked = sentences(), questions()
    named = {name: (*said.get(name, ()), *asked.get(name, ())) for name in sorted({*said, *asked})}
    return tuple(Relation(name, texts, alike(name)) for name, texts in named.items() if len(texts) > 1)
