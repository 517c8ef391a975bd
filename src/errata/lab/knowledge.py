"""How much of `lab-facts` a model knows: greedy answers that end, on phrasings it was and was not trained on.

Knows facts and answers; nothing of training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from errata.models import EditableModel


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
    """Exact match under free generation, by relation, and whether each row's own prompt was answered rightly."""

    seen: Mapping[str, Score]
    held_out: Mapping[str, Score]
    known: Sequence[bool]

    @staticmethod
    def total(scores: Mapping[str, Score]) -> Score:
        return sum(scores.values(), Score(0, 0))

    def table(self) -> list[dict[str, Any]]:
        """A row for all facts together, then one for each relation."""
        scores = [("all", self.total(self.seen), self.total(self.held_out))]
        scores += [(name, self.seen[name], self.held_out[name]) for name in sorted(self.seen)]
        return [
            {
                "relation": name,
                "seen": seen.share, "seen_asked": seen.asked, "held_out": held.share, "held_out_asked": held.asked,
            }
            for name, seen, held in scores
        ]  # fmt: skip

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
        return "\n".join(
            [*lines, "", f"facts known by their own prompt: {sum(self.known)} of {len(self.known)}"]
        )


def measure(model: EditableModel, rows: Sequence[Mapping[str, Any]], batch_size: int = 256) -> Knowledge:
    """Ask every phrasing of every row; an answer counts when it is the target and then ends."""
    asked = [
        (index, part, prompt)
        for index, row in enumerate(rows)
        for part, prompts in (
            ("seen", [row["prompt"], *row["rephrases_seen"]]),
            ("held_out", row["rephrases_held_out"]),
        )
        for prompt in prompts
    ]
    asked.sort(key=lambda item: len(item[2]))
    right = _matches(model, [(prompt, rows[index]["target"]) for index, _, prompt in asked], batch_size)
    tables: dict[str, dict[str, list[bool]]] = {"seen": defaultdict(list), "held_out": defaultdict(list)}
    known = [False] * len(rows)
    for (index, part, prompt), ok in zip(asked, right, strict=True):
        tables[part][rows[index]["relation"]].append(ok)
        if prompt == rows[index]["prompt"]:
            known[index] = ok
    scores = {
        part: {name: Score(sum(oks), len(oks)) for name, oks in table.items()}
        for part, table in tables.items()
    }
    return Knowledge(scores["seen"], scores["held_out"], known)


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
