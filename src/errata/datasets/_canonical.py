"""Canonical examples (Hewitt et al., 2024, arXiv:2402.06155): one short example of a behaviour, tested far from it.

Knows what a task of theirs asks for, its parts, and which edits it comes to; whether the records are published files or
made from the lab's facts its two kinds know, `_canonical_files` and `_canonical_own`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from itertools import cycle
from math import log
from typing import Any, Literal

from errata.datasets._base import Dataset, Example
from errata.edits import PAIRED, Edit, Goal, Probe

Part = Literal["train", "eval", "hard_negatives", "text"]
Split = Literal["val", "test"]

# thresholds, nats: the probability, or the ratio of two, at which the paper counts an example as done
RAISED_A_FIFTH = -log(0.2)
RAISED_A_TWENTIETH = -log(0.05)
LOWERED_TO_A_THOUSANDTH = -log(0.001)
BALANCED_WITHIN_A_HALF = log(1.5)
SIXTEEN_TIMES_LIKELIER = log(16)


@dataclass(frozen=True)
class Canonical(Dataset, ABC):
    """A task: examples to learn from ("train"), what is scored ("eval") and what must not change ("hard_negatives").

    Attributes:
        goal: what an edit must do to an evaluated example: "raise" the probability of its one choice, "lower"
            it, "balance" its two choices, or "contrast" them: lift the first above the second.
        threshold: when that counts as done, in nats: NLL(choice) <= threshold to raise, >= threshold to lower,
            |NLL(first) - NLL(second)| <= threshold to balance, NLL(second) - NLL(first) >= threshold to
            contrast; each NLL summed over the choice's tokens.
    """

    goal: Goal = field(kw_only=True)
    threshold: float = field(kw_only=True)

    @property
    def holds(self) -> str:
        return "edits, examples"

    @abstractmethod
    def grouped(self, part: Part = "eval", split: Split = "test") -> list[tuple[str, Example]]:
        """The examples of one part, each with whom it is about; "" where the records do not say.

        Args:
            part: "train", "eval" (what is scored), "hard_negatives" (what must not change) or, of published tasks,
                "text" (plain text of the task, whole in its one choice).
            split: tune on "val", report "test".

        Raises:
            BadEdit: there is no such part, or a record is malformed.
        """

    def examples(self, part: Part = "eval", split: Split = "test") -> list[Example]:
        """The examples of one part, which is their kind; see `grouped`. Raises: BadEdit."""
        return [example for _, example in self.grouped(part, split)]

    def rows(self, part: Part = "eval", split: Split = "test") -> list[dict[str, Any]]:
        """The records of one part. Raises: BadEdit."""
        return [asdict(example) for example in self.examples(part, split)]

    def edits(self, split: Split = "test") -> list[Edit]:
        """The examples to learn from as edits with the task's goal, one never twice, with what is evaluated.

        To raise, the prompts of "eval" on the same subject and with the same answer are an edit's rephrases; where no
        answer is the same, they are portability probes of the kind "eval". Hard negatives are locality probes of
        the kind "hard_negative", at the edit of their subject; those of other subjects are dealt out in turn.

        Raises:
            BadEdit: a file is missing or malformed.
        """
        trained: dict[tuple[str, ...], tuple[str, Example]] = {}
        for about, example in self.grouped("train", split):
            trained.setdefault((example.prompt, *example.choices), (about, example))
        after, beside = defaultdict(list), defaultdict(list)
        if self.goal == "raise":
            for about, example in self.grouped("eval", split):
                after[about].append(example)
        subjects = [about for about, _ in trained.values()]
        turns = cycle(range(len(subjects)))
        for about, example in self.grouped("hard_negatives", split):
            beside[subjects.index(about) if about and about in subjects else next(turns)].append(example)
        return [
            self._edit(example, after[about], beside[place])
            for place, (about, example) in enumerate(trained.values())
        ]

    def edit(self, example: Example) -> Edit:
        """An example as an edit with the task's goal, with no probes. Raises: BadEdit (it has too few choices)."""
        return self._edit(example, [], [])

    def _edit(self, example: Example, after: list[Example], beside: list[Example]) -> Edit:
        same = [other for other in after if other.choices == example.choices]
        follow = [] if same else after  # another answer on the same subject need not follow from this one
        return Edit(
            prompt=example.prompt,
            target=example.choices[0],
            rival=example.choices[1] if self.goal in PAIRED and len(example.choices) > 1 else None,
            goal=self.goal,
            subject=example.subject,
            rephrases=tuple(other.prompt for other in same),
            locality=tuple(Probe(other.prompt, other.choices[0], "hard_negative") for other in beside),
            portability=tuple(Probe(other.prompt, other.choices[0], "eval") for other in follow),
        )
