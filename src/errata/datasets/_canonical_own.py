"""Canonical examples of Errata's own, made from the lab's facts and prose: small stand-ins for the six published tasks.

A set is made anew at every start, the same each time; its halves "val" and "test" share no subject. What is scored
follows a stretch of other text, in wordings that its examples do not have. Knows facts and prose; knows no task.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, get_args

from errata.datasets._base import Example
from errata.datasets._canonical import Canonical, Part, Split
from errata.datasets.lab_facts import FILE, rows
from errata.edits import Goal
from errata.errors import BadEdit

Row = dict[str, Any]
Make = Callable[[Split], list[Example]]
PROSE = FILE.with_name("prose-held_out.txt.gz")  # the part that no lab model was trained on
SHORT, LONG = 5, 22  # words of a sentence of prose
SENTENCE_END = re.compile(r"(?<=[.!?])(?<!Mrs\.)(?<!Mr\.)(?<!Dr\.)\s+(?=[A-Z])")
QUOTES = set("“”‘—")


@dataclass(frozen=True)
class Own(Canonical):
    """A task that is made rather than read.

    Attributes:
        make: all examples of a half, their kind being their part and their subject whom they are about.
    """

    make: Make = field(kw_only=True, repr=False)

    def grouped(self, part: Part = "eval", split: Split = "test") -> list[tuple[str, Example]]:
        """Raises: BadEdit (there is no such part or half)."""
        if split not in get_args(Split) or part not in get_args(Part) or part == "text":
            parts = "train, eval and hard_negatives of val and test"
            raise BadEdit(f"data set '{self.name}' has {parts}, and no {part} of {split}")
        return [(example.subject or "", example) for example in _made(self.make, split) if example.kind == part]


def own(name: str, goal: Goal, threshold: float, description: str, make: Make) -> Own:
    """The task `name`."""
    return Own(
        name=name,
        description=description,
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="lab-facts and prose of the package; what is asked for is Errata's own",
        records=sum(len(_made(make, split)) for split in get_args(Split)),
        path=FILE,
        goal=goal,
        threshold=threshold,
        make=make,
    )


@cache
def _made(make: Make, split: Split) -> tuple[Example, ...]:
    return tuple(make(split))


@cache
def facts() -> tuple[Row, ...]:
    """The rows of `lab-facts` that lab:gpt knows."""
    return tuple(row for row in rows() if row["known"])


def about(*relations: str) -> list[Row]:
    """The facts of these relations."""
    return [row for row in facts() if row["relation"] in relations]


def half(names: Iterable[str], split: Split) -> list[str]:
    """Every other of these names, in an order of chance that is always the same."""
    order = sorted(set(names))
    random.Random("halves").shuffle(order)
    return order[0 :: 2] if split == "val" else order[1 :: 2]


def wordings(row: Row) -> list[str]:
    """Other ways than its prompt to state a fact, those first that no lab model was trained on."""
    return [prompt for prompt in (*row["rephrases_held_out"], *row["rephrases_seen"]) if row["subject"] in prompt]


class Contexts:
    """Stretches of text that have nothing to do with what follows them: prose, or a fact of another relation."""

    def __init__(self, seed: str, beside: Iterable[str] = (), without: str | None = None) -> None:
        """`beside`: relations that are not told of; `without`: words, as a pattern, that no stretch has."""
        avoided, barred = set(beside), re.compile(rf"\b({without})\b", re.IGNORECASE) if without else None
        told = [f"{row['prompt']} {row['target']}." for row in facts() if row["relation"] not in avoided]
        self.prose = [text for text in _prose() if not (barred and barred.search(text))]
        self.told = [text for text in told if not (barred and barred.search(text))]
        self.rng = random.Random(seed)

    def before(self, prompt: str) -> str:
        """The prompt after a stretch of either kind."""
        return f"{self.rng.choice(self.rng.choice((self.prose, self.told)))} {prompt}"


@cache
def _prose() -> tuple[str, ...]:
    text = gzip.decompress(PROSE.read_bytes()).decode("utf-8")
    sentences = [" ".join(part.split()) for paragraph in text.split("\n\n") for part in SENTENCE_END.split(paragraph)]
    whole = [one for one in sentences if one[:1].isupper() and one[-1:] in ".!?" and not QUOTES.intersection(one)]
    return tuple(one for one in whole if SHORT <= len(one.split()) <= LONG)


class Statement(NamedTuple):
    """One simple statement: its fact's prompt and wordings with what is to follow them, which the fact need not say."""

    row: Row
    choice: str


def stated(
    statements: Sequence[Statement], near: Sequence[Row], contexts: Contexts, *, asked: int, gold: int | None
) -> Iterator[Example]:
    """A task of facts: statements in one wording, scored in `asked` others; the facts `near` must stay as they are.

    `gold` is that of the scored examples: 0 where their choice is right.
    """
    for row, choice in statements:
        yield Example(row["prompt"], (choice,), gold, subject=row["subject"], kind="train")
        for prompt in wordings(row)[:asked]:
            yield Example(contexts.before(prompt), (choice,), gold, subject=row["subject"], kind="eval")
    for row in near:
        prompt = contexts.before(wordings(row)[0])
        yield Example(prompt, (row["target"],), 0, subject=row["subject"], kind="hard_negatives")


def others(row: Row, targets: Sequence[str], rng: random.Random) -> str:
    """One of the targets that is not the fact's own."""
    return rng.choice([target for target in targets if target != row["target"]])


def beside(rows: Iterable[Row], subjects: Iterable[str], relations: Iterable[str]) -> list[Row]:
    """The facts of these subjects that are of none of these relations."""
    wanted, left = set(subjects), set(relations)
    return [row for row in rows if row["subject"] in wanted and row["relation"] not in left]
