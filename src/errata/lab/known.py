"""Facts of CounterFact that a real chat model knows, each with another answer: as sentences and as questions.

`known-smollm2.json` lists the cases whose true object SmolLM2-135M-Instruct writes after the prompt as it stands
(`tools/mark_known_facts.py`). Half of the subjects are "tune", on which settings are chosen; "report" is reported.
Knows facts and wordings; no model.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from errata.datasets import Dataset, get, register_dataset
from errata.edits import Edit, Probe
from errata.lab.questions import relations, templates

FILE = Path(__file__).parent / "data" / "known-smollm2.json"
OTHERS = 2  # questions about the same subject that ask for something else, and neighbours, of an edit
KEPT = 200  # known facts that no edit is about

Half = Literal["tune", "report"]


@dataclass(frozen=True)
class Fact:
    """A case of CounterFact: prompt, true and other object, and its relation; whether the model knows it."""

    subject: str
    relation: str
    prompt: str
    true: str
    new: str
    paraphrases: tuple[str, ...]
    neighbours: tuple[str, ...]
    known: bool


@cache
def facts(half: Half) -> tuple[Fact, ...]:
    """Return the facts of one half of the subjects, those that the model knows first, one a subject.

    Subjects of which something is learned for scope are left out.
    """
    from errata.statistics.scoping import lessons  # what lists data sets does not load torch

    taught = {lesson.subject.casefold() for form in ("chat", "text") for lesson in lessons(form)}
    ids, found = set(json.loads(FILE.read_text(encoding="utf-8"))), {}
    for row in get("counterfact").rows():
        told = row["requested_rewrite"]
        subject, digest = told["subject"], hashlib.sha256(told["subject"].encode()).digest()[0] % 2
        known = row["case_id"] in ids
        if subject.casefold() in taught or digest != ("report", "tune").index(half):
            continue
        if subject not in found or known > found[subject].known:
            found[subject] = Fact(
                subject, told["relation_id"], told["prompt"].replace("{}", subject), told["target_true"]["str"],
                told["target_new"]["str"], tuple(row["paraphrase_prompts"]), tuple(row["neighborhood_prompts"]), known,
            )  # fmt: skip
    ordered = list(found.values())
    random.Random(0).shuffle(ordered)
    return tuple(sorted(ordered, key=lambda fact: not fact.known))


@dataclass(frozen=True)
class Known(Dataset):
    """Facts of one half, as text to be continued or as questions; those of the other half are asked beside them.

    Attributes:
        most: how many, those first that the model knows; None: those that it knows.
    """

    half: Half = "report"
    form: Literal["text", "chat"] = "text"
    most: int | None = None

    def rows(self, split: str | None = None) -> list[dict[str, Any]]:
        """The edits as JSON values."""
        return [edit.to_json() for edit in self.edits()]

    def edits(self) -> list[Edit]:
        """Return an edit a fact: its rephrases are wordings that nothing was learned from."""
        rng, about = random.Random(0), _as_text if self.form == "text" else _as_question
        subjects = frozenset(fact.subject for fact in facts(self.half))
        chosen = [fact for fact in facts(self.half) if fact.known or self.most is not None]
        return [edit for fact in chosen for edit in about(fact, subjects, rng)][: self.most]

    def upstream(self) -> list[Probe]:
        """Return known facts of the other half, which no edit is about; what was said before is right."""
        others = [fact for fact in facts("tune" if self.half == "report" else "report") if fact.known]
        asked = (fact.prompt if self.form == "text" else _question(fact, "seen", 0) for fact in others)
        return [Probe(one) for one in asked if one][:KEPT]


def _as_text(fact: Fact, subjects: frozenset[str], rng: random.Random) -> Iterator[Edit]:
    from errata.statistics.relations import ends_as_learned, sentences

    same = [rng.choice(sentences()[one]) for one in _others(fact, list(sentences()), rng)]
    beside = [one for one in fact.neighbours if not any(subject in one for subject in subjects)][:OTHERS]
    said = [one for one in fact.paraphrases if fact.subject in one and not ends_as_learned(one, fact.subject)]
    yield _edit(fact, fact.prompt, fact.new, said, same, beside)


def _as_question(fact: Fact, subjects: frozenset[str], rng: random.Random) -> Iterator[Edit]:
    if first := _question(fact, "seen", 0):
        same = [rng.choice(templates(one, "held_out")) for one in _others(fact, relations(), rng)]
        said = [one for number in (0, 1) if (one := _question(fact, "held_out", number))]
        yield _edit(fact, first, f"{fact.new}.", said, same, [])


def _others(fact: Fact, asked: Sequence[str], rng: random.Random) -> list[str]:
    """Relations that ask something else about subjects of the same type."""
    from errata.statistics.relations import alike, relation_type

    strange = set(asked) - alike(fact.relation)
    pool = sorted(one for one in strange if relation_type(one) == relation_type(fact.relation))
    return rng.sample(pool, min(OTHERS, len(pool)))


def _edit(
    fact: Fact, prompt: str, target: str, said: Sequence[str], same: Sequence[str], beside: Sequence[str]
) -> Edit:  # fmt: skip
    probes = [Probe(one.replace("{}", fact.subject), kind="same_subject") for one in same]
    probes += [Probe(one, kind="neighbour") for one in beside]
    return Edit(prompt, target, fact.subject, rephrases=tuple(said), locality=tuple(probes))


def _question(fact: Fact, part: Literal["seen", "held_out"], number: int) -> str | None:
    if fact.relation not in relations():
        return None
    return templates(fact.relation, part)[number].replace("{}", fact.subject)


def _known(name: str, half: Half, form: Literal["text", "chat"], records: int, *, others: bool = False) -> Known:
    as_what = "as text" if form == "text" else "as questions"
    beside = " and others that it does not" if others else ""
    return Known(
        name=name,
        description=f"facts of CounterFact that SmolLM2-135M-Instruct knows{beside}, {as_what}; half '{half}'",
        licence="MIT",
        source="CounterFact; the questions are Errata's own",
        records=records,
        path=FILE,
        half=half,
        form=form,
        most=records if others else None,
    )


@register_dataset("known-facts")
def known_facts() -> Known:
    """Facts that a real chat model knows, as text to be continued."""
    return _known("known-facts", "report", "text", 188)


@register_dataset("known-facts-1000")
def known_facts_1000() -> Known:
    """A thousand facts, those first that it knows, as text."""
    return _known("known-facts-1000", "report", "text", 1000, others=True)


@register_dataset("known-questions")
def known_questions() -> Known:
    """The facts that it knows as questions."""
    return _known("known-questions", "report", "chat", 163)


@register_dataset("known-facts-tune")
def known_facts_tune() -> Known:
    """The half of the facts that settings are chosen on, as text."""
    return _known("known-facts-tune", "tune", "text", 205)


@register_dataset("known-questions-tune")
def known_questions_tune() -> Known:
    """The same half as questions."""
    return _known("known-questions-tune", "tune", "chat", 175)
