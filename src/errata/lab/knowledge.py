"""How much of `lab-facts` a model knows: greedy answers that end, on phrasings it was and was not trained on.

A causal model completes sentences, an encoder-decoder answers questions, a classifier judges claims, or says what the
label task says that it was trained for. Knows facts and answers; nothing of training.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from errata.datasets import get
from errata.lab.claims import LABELS, claims
from errata.lab.labels import LabelTask, task_of
from errata.lab.questions import ask, learned, unlearned
from errata.models import EditableModel

Row = Mapping[str, Any]
Part = Literal["seen", "held_out"]
PARTS: tuple[Part, ...] = ("seen", "held_out")
DRAWS = 3  # of a supported and a refuted claim of every fact


@dataclass(frozen=True)
class Score:
    """Right answers out of all asked."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        return self.right / self.asked if self.asked else float("nan")

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.asked + other.asked)


@dataclass(frozen=True)
class Knowledge:
    """Exact match under free generation, by relation, and whether each row's own prompts were answered rightly.

    Attributes:
        seen, held_out: scores by relation, on phrasings for training and on others.
        known: for each row.
        untaught: the same of facts that were kept from the model, where there are such.
        guess: share of those that the most frequent answer of their relation gets right.
    """

    seen: Mapping[str, Score]
    held_out: Mapping[str, Score]
    known: Sequence[bool]
    untaught: Knowledge | None = None
    guess: float | None = None

    @staticmethod
    def total(scores: Mapping[str, Score]) -> Score:
        return sum(scores.values(), Score(0, 0))

    def table(self) -> list[dict[str, Any]]:
        """A row for all facts together, then one for each relation, then one for all that were kept from the model."""
        scores = [("all", self.total(self.seen), self.total(self.held_out))]
        scores += [(name, self.seen[name], self.held_out[name]) for name in sorted(self.seen)]
        rows = [
            {
                "relation": name,
                "seen": seen.share, "seen_asked": seen.asked, "held_out": held.share, "held_out_asked": held.asked,
            }
            for name, seen, held in scores
        ]  # fmt: skip
        if self.untaught is not None:
            rows.append({**self.untaught.table()[0], "relation": "untaught", "guess": self.guess})
        return rows

    def markdown(self) -> str:
        """The table as documentation quotes it."""
        lines = [
            "| relation | seen phrasings | asked | held-out phrasings | asked |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['relation']} | {row['seen']:.1%} | {row['seen_asked']} "
            f"| {row['held_out']:.1%} | {row['held_out_asked']} |"
            for row in self.table()
        ]
        lines += ["", f"facts known by their own prompt: {sum(self.known)} of {len(self.known)}"]
        if self.guess is not None:
            lines.append(f"untaught facts that their relation's most frequent answer gets right: {self.guess:.1%}")
        return "\n".join(lines)


class Asked(NamedTuple):
    """One prompt about the fact in row `fact`; the fact is known if all its `own` prompts are answered rightly."""

    fact: int
    part: Part
    prompt: str
    target: str
    own: bool


def examine(model: EditableModel, batch_size: int = 256) -> Knowledge:
    """Ask about every fact of `lab-facts`. Facts that are kept from encoder-decoders of the lab are told apart."""
    if model.task != "seq2seq":
        return measure(model, get("lab-facts").rows(), batch_size)
    taught, rest = learned(), unlearned()
    found = measure(model, taught, batch_size)
    return replace(found, untaught=measure(model, rest, batch_size), guess=guess_rate(rest, taught))


def guess_rate(rows: Sequence[Row], known: Iterable[Row]) -> float:
    """Share of `rows` that the most frequent answer of their relation, among the `known` ones, gets right."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for row in known:
        answers[row["relation"]][row["target"]] += 1
    commonest = {relation: counts.most_common(1)[0][0] for relation, counts in answers.items()}
    return sum(commonest.get(row["relation"]) == row["target"] for row in rows) / len(rows)


def measure(model: EditableModel, rows: Sequence[Row], batch_size: int = 256) -> Knowledge:
    """Ask every phrasing of every row; an answer counts when it is the target and then ends."""
    asked = sorted(_asked(model, rows), key=lambda item: len(item.prompt))
    right = _matches(model, [(item.prompt, item.target) for item in asked], batch_size)
    tables: dict[str, dict[str, list[bool]]] = {"seen": defaultdict(list), "held_out": defaultdict(list)}
    known = [True] * len(rows)
    for item, ok in zip(asked, right, strict=True):
        tables[item.part][rows[item.fact]["relation"]].append(ok)
        known[item.fact] &= ok or not item.own
    scores = {
        part: {name: Score(sum(oks), len(oks)) for name, oks in table.items()}
        for part, table in tables.items()
    }
    return Knowledge(scores["seen"], scores["held_out"], known)


def _asked(model: EditableModel, rows: Sequence[Row]) -> Iterator[Asked]:
    if model.task == "causal":
        return _sentences(rows)
    if model.task == "seq2seq":
        return _questions(rows)
    return _claims(rows) if tuple(model.labels) == LABELS else _cases(rows, task_of(model.labels))


def _sentences(rows: Sequence[Row]) -> Iterator[Asked]:
    for index, row in enumerate(rows):
        yield Asked(index, "seen", row["prompt"], row["target"], own=True)
        for prompt in row["rephrases_seen"]:
            yield Asked(index, "seen", prompt, row["target"], own=False)
        for prompt in row["rephrases_held_out"]:
            yield Asked(index, "held_out", prompt, row["target"], own=False)


def _questions(rows: Sequence[Row]) -> Iterator[Asked]:
    for index, row in enumerate(rows):
        for part in PARTS:
            for place, prompt in enumerate(ask(row, part)):
                yield Asked(index, part, prompt, row["target"], own=part == "seen" and place == 0)


def _claims(rows: Sequence[Row]) -> Iterator[Asked]:
    """The first draw of seen claims, one true and one false, are a fact's own."""
    facts = get("lab-facts").rows()
    places = {(row["subject"], row["relation"]): index for index, row in enumerate(rows)}
    for part in PARTS:
        for seed in range(DRAWS):
            for claim in claims(phrasing=part, seed=seed):
                index = places.get((facts[claim.fact]["subject"], claim.relation))
                if index is not None:
                    yield Asked(index, part, claim.text, claim.label, own=part == "seen" and seed == 0)


def _cases(rows: Sequence[Row], task: LabelTask) -> Iterator[Asked]:
    """Every case of a label task in one wording of either part; those in seen wordings are a fact's own."""
    for index, row in enumerate(rows):
        rng = random.Random(f"{row['subject']} {row['relation']}")
        for case in task.cases(row, rng):
            for part in PARTS:
                yield Asked(index, part, rng.choice(case.texts(part)), case.label, own=part == "seen")


def _matches(model: EditableModel, pairs: Iterable[tuple[str, str]], batch_size: int) -> list[bool]:
    """Whether greedy decoding writes exactly the target and stops, which `greedy_match` tells in one forward."""
    items = list(pairs)
    matches: list[bool] = []
    with tqdm(total=len(items), unit="prompt", desc="asking") as bar:
        for start in range(0, len(items), batch_size):
            prompts, targets = zip(*items[start : start + batch_size], strict=True)
            matches += model.greedy_match(model.encode(prompts, targets)).tolist()
            bar.update(len(prompts))
    return matches
