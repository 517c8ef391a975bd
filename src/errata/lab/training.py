"""Edits to learn an editor from: facts of the split "editor-train", asked several times, with other facts beside them.

An editor that learned from these has seen none of the subjects, and none of the held-out wordings, that it is tried on
later. Knows facts, claims and edits; knows no editor and no model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from errata.edits import Edit, Probe
from errata.lab.claims import Fact, phrasings, world
from errata.lab.labels import LabelTask

SPLIT = "editor-train"
TURNS = 4  # at most, that a fact is asked; in another wording each time, and for another answer
BESIDE = 2  # facts of every kind that are asked beside an edit
_SEED = 0

Ask = Callable[[Fact], Sequence[str]]
Told = tuple[str, str]  # what a model reads, and what it rightly says


def sentences(fact: Fact) -> list[str]:
    """The phrasings that lab models were trained on, up to the answer."""
    return phrasings(fact, "seen")


class Beside:
    """Other facts of the split, drawn as locality probes: "neighbour", "same_subject" and "unrelated"."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.facts = facts
        self.of_relation: dict[str, list[Fact]] = defaultdict(list)
        self.of_subject: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            self.of_relation[fact["relation"]].append(fact)
            self.of_subject[fact["subject"]].append(fact)

    def draw(self, fact: Fact, tell: Callable[[Fact], Told], rng: random.Random) -> Iterator[Probe]:
        """`BESIDE` probes of each kind, fewer where the split has no more; `tell` asks a fact, with its answer."""
        pools = {
            "neighbour": [one for one in self.of_relation[fact["relation"]] if one["subject"] != fact["subject"]],
            "same_subject": [one for one in self.of_subject[fact["subject"]] if one["relation"] != fact["relation"]],
            "unrelated": [
                one for one in rng.sample(self.facts, 4 * BESIDE)
                if one["subject"] != fact["subject"] and one["relation"] != fact["relation"]
            ],
        }  # fmt: skip
        for kind, pool in pools.items():
            for other in rng.sample(pool, min(BESIDE, len(pool))):
                prompt, answer = tell(other)
                yield Probe(prompt, answer, kind)


def about_facts(ask: Ask) -> Iterator[Edit]:
    """Known facts that get another answer of their relation, one that is true of the subject in nothing.

    `ask` gives the wordings of a fact, at least two; one is the prompt and the others are the rephrases. All facts are
    asked once before one is asked again. The same facts and wordings give the same edits.
    """
    beside = Beside([fact for fact, _ in _facts()])
    for turn, fact, false, rng in _drawn(ask):
        first, *others = _turned(ask(fact), turn)

        def tell(other: Fact, rng: random.Random = rng) -> Told:
            return rng.choice(list(ask(other))), other["target"]

        yield Edit(
            first, rng.choice(false), fact["subject"], ground_truth=fact["target"], rephrases=tuple(others),
            locality=tuple(beside.draw(fact, tell, rng)),
        )  # fmt: skip


def about_labels(task: LabelTask) -> Iterator[Edit]:
    """Cases of a label task that get another of its labels, drawn by chance: a fact's one case at a time.

    Rephrases are the same case in the other seen wordings, locality cases of other facts, which keep their labels.
    """
    beside = Beside([fact for fact, _ in _facts()])
    for turn, fact, _, rng in _drawn(sentences):
        case = rng.choice(task.cases(fact, rng))
        first, *others = _turned(case.seen, turn)

        def tell(other: Fact, rng: random.Random = rng) -> Told:
            kept = rng.choice(task.cases(other, rng))
            return rng.choice(kept.seen), kept.label

        yield Edit(
            first, rng.choice([label for label in task.labels if label != case.label]), fact["subject"],
            ground_truth=case.label, rephrases=tuple(others), locality=tuple(beside.draw(fact, tell, rng)),
        )  # fmt: skip


@cache
def _facts() -> tuple[tuple[Fact, list[str]], ...]:
    """The known facts of the split with their false objects."""
    return tuple(
        (fact, false) for fact, false in zip(*world(), strict=True) if fact["split"] == SPLIT and fact["known"]
    )


def _drawn(ask: Ask) -> Iterator[tuple[int, Fact, list[str], random.Random]]:
    """(turn, fact, its false objects, its generator), turn by turn, every turn in an order of chance."""
    for turn in range(TURNS):
        order = list(_facts())
        random.Random(f"{_SEED} {turn}").shuffle(order)
        for fact, false in order:
            if turn < len(ask(fact)):
                yield turn, fact, false, random.Random(f"{_SEED} {turn} {fact['subject']} {fact['relation']}")


def _turned(texts: Sequence[str], turn: int) -> list[str]:
    """The texts, beginning with the one whose turn it is."""
    return [texts[turn], *(text for place, text in enumerate(texts) if place != turn)]
