"""Claims about the facts of `lab-facts`, true and false, and a change of guideline that turns the labels of some over.

A claim is a phrasing of a fact, an object and a full stop; its label says whether the facts support or refute it, as
in FEVER (Thorne et al., 2018). Knows facts, claims and edits; knows no model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from errata.datasets.lab_facts import rows as fact_rows
from errata.edits import Edit, Probe
from errata.errors import BadConfig, unknown_name

REFUTES, SUPPORTS = LABELS = ("REFUTES", "SUPPORTS")
OTHER = {REFUTES: SUPPORTS, SUPPORTS: REFUTES}

Fact = Mapping[str, Any]
Phrasing = Literal["seen", "held_out"]


@dataclass(frozen=True)
class Claim:
    """A sentence, whether the facts support it, and the row of `lab-facts` (by index) and relation it is about."""

    text: str
    label: str
    fact: int
    relation: str
    object: str


@dataclass(frozen=True)
class Shift:
    """A new guideline: claims of some relations or subjects have the opposite label from now on.

    Attributes:
        edits: claims asked after the change: prompt a claim, target its new label, ground_truth its old one, rephrases
            the same claim in the fact's other phrasings.
        upstream: claims that the change leaves alone, with the label they keep.
    """

    edits: tuple[Edit, ...]
    upstream: tuple[Probe, ...]


def sentence(prompt: str, answer: str) -> str:
    """The claim that `answer` completes `prompt`."""
    return f"{prompt} {answer}."


def phrasings(fact: Fact, phrasing: Phrasing) -> list[str]:
    """The prompts of a fact that were, or were not, trained on."""
    return [fact["prompt"], *fact["rephrases_seen"]] if phrasing == "seen" else list(fact["rephrases_held_out"])


def false_objects(facts: Sequence[Fact]) -> list[list[str]]:
    """For every fact, objects that make a false claim of it: the answers of its relation's other facts.

    An object is there as often as it is an answer, so that a false claim cannot be told by a rare object. Objects that
    are true of the subject in any of its facts are left out, and so are those that hold a true one's words or are held
    by it: whoever lives in "New York City" lives in "New York".
    """
    answers, true = defaultdict(list), defaultdict(set)
    for fact in facts:
        answers[fact["relation"]].append(fact["target"])
        true[fact["subject"]].add(fact["target"])
    words = {fact["target"]: f" {fact['target'].casefold()} " for fact in facts}
    distinct = {relation: set(objects) for relation, objects in answers.items()}

    @cache
    def near(relation: str, known: str) -> set[str]:
        """The relation's objects that hold the words of a true one, or are held by them."""
        return {one for one in distinct[relation] if words[one] in words[known] or words[known] in words[one]}

    false = []
    for fact in facts:
        unfit = set[str]().union(*(near(fact["relation"], known) for known in true[fact["subject"]]))
        false.append([target for target in answers[fact["relation"]] if target not in unfit])
    return false


@cache
def world() -> tuple[list[dict[str, Any]], list[list[str]]]:
    """The rows of `lab-facts`, and for each of them the objects that make a false claim of it."""
    facts = fact_rows()
    return facts, false_objects(facts)


def claims(split: str | None = None, phrasing: Phrasing = "seen", seed: int = 0) -> list[Claim]:
    """One supported and one refuted claim of every fact, both in one of its phrasings, drawn by `seed`.

    Args:
        split: the facts of one split of `lab-facts`; None: every fact.
        phrasing: "seen" in the training of the lab's models, or "held_out" of it.
        seed: draws the phrasing and the false object; the same seed gives the same claims.

    Raises:
        UnknownName: no such split or phrasing.
    """
    facts, false = world()
    splits = {fact["split"] for fact in facts}
    if split is not None and split not in splits:
        raise unknown_name("split", split, sorted(splits))
    if phrasing not in ("seen", "held_out"):
        raise unknown_name("phrasing", phrasing, ["seen", "held_out"])
    drawn = []
    for index, fact in enumerate(facts):
        rng = random.Random(f"{seed} {index}")  # of its own, so that a fact's claims are the same in any split
        prompt, wrong = rng.choice(phrasings(fact, phrasing)), rng.choice(false[index])
        if split in (None, fact["split"]):
            for label, answer in ((SUPPORTS, fact["target"]), (REFUTES, wrong)):
                drawn.append(Claim(sentence(prompt, answer), label, index, fact["relation"], answer))
    return drawn


def label_shift(
    seed: int = 0,
    *,
    relations: Collection[str] | None = None,
    subjects: Collection[str] = (),
    edits: int = 100,
    upstream: int = 500,
) -> Shift:
    """Claims whose label turns over, as edits, and claims that keep theirs, as probes; all from the split "edit".

    Args:
        seed: draws everything.
        relations: those whose claims turn over; by default, and where no subjects are given, three drawn by `seed`.
        subjects: those whose claims turn over, whatever the relation.
        edits: at most so many, half of them supported before, of different facts.
        upstream: at most so many, half of them supported.

    Raises:
        UnknownName: no fact has this relation or subject.
        BadConfig: no claim is left on one of the two sides.
    """
    facts, _ = world()
    known = {fact["relation"] for fact in facts}
    if relations is None:
        relations = [] if subjects else random.Random(seed).sample(sorted(known), 3)
    _check_names("relation", relations, known)
    _check_names("subject", subjects, {fact["subject"] for fact in facts})
    turned, kept = [], []
    for claim in _one_of_each_fact(claims("edit", "seen", seed), seed):
        fact = facts[claim.fact]
        inside = claim.relation in relations or fact["subject"] in subjects
        (turned if inside else kept).append(claim)
    if not turned or not kept:
        raise BadConfig("the shift must hold some of the claims, and not all; choose other relations or subjects")
    return Shift(
        edits=tuple(_flip(claim, facts[claim.fact]) for claim in _balanced(turned, edits)),
        upstream=tuple(Probe(claim.text, claim.label) for claim in _balanced(kept, upstream)),
    )


def _check_names(what: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown_name(what, name, sorted(known))


def _one_of_each_fact(drawn: Sequence[Claim], seed: int) -> list[Claim]:
    """The supported or the refuted claim of every fact, in random order: one fact must not turn both ways."""
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    rng = random.Random(seed)
    rng.shuffle(pairs)
    return [rng.choice(pair) for pair in pairs]


def _balanced(drawn: Sequence[Claim], count: int) -> list[Claim]:
    """The first `count`, as many of one label as of the other, in their order."""
    share = min(count // 2, *(sum(claim.label == label for claim in drawn) for label in LABELS))
    places = [place for label in LABELS for place in _places(drawn, label)[:share]]
    return [drawn[place] for place in sorted(places)]


def _places(drawn: Sequence[Claim], label: str) -> list[int]:
    return [place for place, claim in enumerate(drawn) if claim.label == label]


def _flip(claim: Claim, fact: Fact) -> Edit:
    others = [sentence(prompt, claim.object) for prompt in [*phrasings(fact, "seen"), *phrasings(fact, "held_out")]]
    return Edit(
        prompt=claim.text,
        target=OTHER[claim.label],
        subject=fact["subject"],
        ground_truth=claim.label,
        rephrases=tuple(text for text in others if text != claim.text),
    )
