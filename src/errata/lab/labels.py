"""Label tasks made from `lab-facts`, for classifiers: relation, domain, and whether one sentence follows from another.

They are Errata's own and no published benchmark. Each has a guideline: a change of what some labels mean, which gives
the edits. Knows facts, texts and labels; knows no model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from errata.datasets.lab_facts import rows as fact_rows
from errata.errors import unknown_name
from errata.lab.claims import LABELS, REFUTES, SUPPORTS, Fact, Phrasing, phrasings, sentence, world

DOMAINS = {
    "geography": ("capital", "continent", "P30", "P190"),
    "society": ("currency", "demonym", "internet-domain", "language", "P37"),
    "life": ("P19", "P20", "P27", "P103", "P140", "P1412", "birth-year"),
    "work": ("P101", "P106", "P108", "P413", "P937"),
    "arts": ("P136", "P364", "P449", "P495", "P740", "P1303"),
    "business": ("P159", "P178", "founded", "industry", "sector"),
    "politics": ("P39", "state", "took-office"),
}
ENTAILMENT = FOLLOWS, NEUTRAL, CONTRADICTS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Case:
    """What is to be labelled, in the fact's wordings to train on (`seen`) and in others (`held_out`)."""

    label: str
    seen: tuple[str, ...]
    held_out: tuple[str, ...]

    def texts(self, phrasing: Phrasing) -> tuple[str, ...]:
        return self.seen if phrasing == "seen" else self.held_out


@dataclass(frozen=True)
class LabelTask:
    """A label for what is said of facts.

    Attributes:
        name: also of the recipe that trains a model for it.
        asks: what a model for it says, for a listing.
        labels: in the order of a model's outputs.
        cases: what is asked about a fact, a case a label that it can have; a generator draws what is not settled.
        guideline: (relation, label) to the label that such cases have from now on.
    """

    name: str
    asks: str
    labels: tuple[str, ...]
    cases: Callable[[Fact, random.Random], Sequence[Case]]
    guideline: Mapping[tuple[str, str], str]

    def moved(self, fact: Fact, case: Case) -> str | None:
        """The label that the guideline gives a case about a fact; None where it keeps its own."""
        return self.guideline.get((fact["relation"], case.label))

    def asked(self, split: str | None, seed: int) -> list[tuple[Fact, Case]]:
        """Every case of the facts of a split (None: of all), drawn by `seed`, in the order of `lab-facts`."""
        return [
            (fact, case)
            for fact in fact_rows(split)
            for case in self.cases(fact, random.Random(f"{seed} {self.name} {fact['subject']} {fact['relation']}"))
        ]


def label_task(name: str) -> LabelTask:
    """The task called `name`. Raises UnknownName when there is none."""
    if name not in TASKS:
        raise unknown_name("label task", name, sorted(TASKS))
    return TASKS[name]


def task_of(labels: Sequence[str]) -> LabelTask:
    """The task whose labels a model has. Raises UnknownName when it is none."""
    found = [one for one in TASKS.values() if one.labels == tuple(labels)]
    if not found:
        raise unknown_name("label task with the labels", ", ".join(labels), sorted(TASKS))
    return found[0]


def _told(fact: Fact, answer: str, phrasing: Phrasing) -> tuple[str, ...]:
    return tuple(sentence(prompt, answer) for prompt in phrasings(fact, phrasing))


def _stated(label: str, fact: Fact, answer: str) -> Case:
    return Case(label, _told(fact, answer, "seen"), _told(fact, answer, "held_out"))


# Claims: what lab:bert judges


def _claims(fact: Fact, rng: random.Random) -> list[Case]:
    wrong = rng.choice(_false()[_key(fact)])
    return [_stated(SUPPORTS, fact, fact["target"]), _stated(REFUTES, fact, wrong)]


# Relation and domain


def _relation(fact: Fact, rng: random.Random) -> list[Case]:
    return [_stated(fact["relation"], fact, fact["target"])]


def _domain(fact: Fact, rng: random.Random) -> list[Case]:
    return [_stated(DOMAIN_OF[fact["relation"]], fact, fact["target"])]


# Entailment: "premise. hypothesis."


def _entailment(fact: Fact, rng: random.Random) -> list[Case]:
    """A pair of each label. Half of what is said is false, so that knowing the facts does not tell.

    Contradicting sentences give one subject and relation two objects; what is said of another subject, or of another
    relation of the same one, is neutral.
    """
    wrong = rng.choice(_false()[_key(fact)])
    one, two = rng.sample([fact["target"], wrong], 2)
    other = _other(fact, rng)
    aside = rng.choice([other["target"], rng.choice(_false()[_key(other)])])
    return [
        _pair(FOLLOWS, (fact, one), (fact, one), rng),
        _pair(NEUTRAL, (other, aside), (fact, one), rng),
        _pair(CONTRADICTS, (fact, two), (fact, one), rng),
    ]


def _pair(label: str, premise: tuple[Fact, str], hypothesis: tuple[Fact, str], rng: random.Random) -> Case:
    """A pair for every wording of the hypothesis; a pair that is held out has it in one that no training saw."""

    def pairs(phrasing: Phrasing) -> tuple[str, ...]:
        first = {*_told(*premise, "seen"), *_told(*premise, phrasing)}
        said = _told(*hypothesis, phrasing)
        return tuple(f"{rng.choice(sorted(first - {second}))} {second}" for second in said)

    return Case(label, pairs("seen"), pairs("held_out"))


def _other(fact: Fact, rng: random.Random) -> Fact:
    """A fact of the same split about the same subject, if there is one, or about another: half of these in the same
    relation."""
    of_subject, of_relation = _pools()[fact["split"]]
    same = [one for one in of_subject[fact["subject"]] if one["relation"] != fact["relation"]]
    if same and rng.random() < 0.5:
        return rng.choice(same)
    relation = fact["relation"] if rng.random() < 0.5 else rng.choice(sorted(of_relation))
    return rng.choice([one for one in of_relation[relation] if one["subject"] != fact["subject"]])


def _key(fact: Fact) -> tuple[str, str]:
    return fact["subject"], fact["relation"]


@cache
def _false() -> dict[tuple[str, str], list[str]]:
    return {_key(fact): false for fact, false in zip(*world(), strict=True)}


@cache
def _pools() -> dict[str, tuple[dict[str, list[Fact]], dict[str, list[Fact]]]]:
    """The facts of every split by subject and by relation."""
    pools: dict[str, Any] = defaultdict(lambda: (defaultdict(list), defaultdict(list)))
    for fact in fact_rows():
        of_subject, of_relation = pools[fact["split"]]
        of_subject[fact["subject"]].append(fact)
        of_relation[fact["relation"]].append(fact)
    return pools


DOMAIN_OF = {relation: domain for domain, relations in DOMAINS.items() for relation in relations}
TASKS = {
    one.name: one
    for one in (
        LabelTask("claims", "whether a claim is supported or refuted", LABELS, _claims, {}),
        LabelTask(
            "relation", "which relation of lab-facts a sentence states", tuple(sorted(DOMAIN_OF)), _relation,
            {("P30", "P30"): "continent", ("P37", "P37"): "language"},  # the doubles are one from now on
        ),
        LabelTask(
            "domain", "which of seven domains a sentence is about", tuple(DOMAINS), _domain,
            {("P495", "arts"): "geography", ("P740", "arts"): "geography"},  # where works and bands come from
        ),
        LabelTask(
            "entailment", "whether a sentence follows from the one before it", ENTAILMENT, _entailment,
            # Who plays the piano may play the flute as well, and a city may have two twins.
            {("P1303", CONTRADICTS): NEUTRAL, ("P190", CONTRADICTS): NEUTRAL},
        ),
    )
}  # fmt: skip
