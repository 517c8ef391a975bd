"""What a study amounts to: gains in success by method, ball and task, and which tasks can tell anything here.

Knows finished runs; runs nothing. The same results give the same figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any
from zlib import crc32

from errata.evaluate.canonical.folder import UNBOUNDED, Cell, Folder
from errata.evaluate.canonical.gains import Grade, Spread, mean_of, spread
from errata.evaluate.canonical.runs import Half
from errata.evaluate.canonical.scoring import met
from errata.evaluate.canonical.study import halves
from errata.evaluate.figures import Figure, share

DONE = 0.9  # success from which on there is nothing left to correct


@dataclass(frozen=True)
class TaskBefore:
    """What the unedited model does on the reported half of a task.

    Attributes:
        goal, threshold: of the task.
        train, eval: success on the examples and on what is scored, [0, 1].
        loss: mean value of the latter, nats (what the threshold is set against).
        right: to contrast, how often the right choice is the likelier at all; else None.
        moved: gain of the edit without a ball, if it was made.
        unmeasurable: why nothing can be measured here; None where it can.
    """

    goal: str
    threshold: float
    train: Figure
    eval: Figure
    loss: float
    right: Figure | None
    moved: Figure | None
    unmeasurable: str | None


@dataclass(frozen=True)
class Outcome:
    """What one method came to in one ball: on one task, or over all that can be measured.

    Attributes:
        gain: success after less before, [-1, 1], of the examples scored; runs that leave nothing count as 0.
        hard: mean rise of the hard negatives' loss, nats; of runs that left something.
        rise: share by which the loss on held-out prose rose, likewise.
        runs: how many there are.
        lost: of how many nothing would be kept, by what became of them.
        config: the sets of options that validation chose, where it is one task's.
        problem: what was said of the first that was lost.
    """

    gain: Figure
    hard: Figure | None
    rise: float | None
    runs: int
    lost: Mapping[str, int]
    config: Mapping[str, Any] | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Findings:
    """A study's figures; `missing` runs are still to come. Keys are (label, ball) and (label, ball, task)."""

    before: Mapping[str, TaskBefore]
    means: Mapping[tuple[str, float], Outcome]
    tasks: Mapping[tuple[str, float, str], Outcome]
    missing: int

    @property
    def measured(self) -> list[str]:
        """Tasks that means are over."""
        return [name for name, task in self.before.items() if task.unmeasurable is None]


def findings(folder: Folder) -> Findings:
    """Of a study, finished or not: a figure stands where all of the runs that it is of do."""
    return _Reading(folder).findings()


class _Reading:
    def __init__(self, folder: Folder) -> None:
        self.plan, self.done, self.values = folder.plan, folder.runs(), folder.read("before.json") or {}
        self.halves = {name: half for (name, split), half in halves(folder.plan).items() if split == "test"}

    def findings(self) -> Findings:
        before = {name: self._before(name) for name in self.plan.tasks if name in self.values}
        measured = [name for name, task in before.items() if task.unmeasurable is None]
        tasks, means, missing = {}, {}, 0
        for entrant in self.plan.methods:
            for ball in self.plan.balls:
                rows = {task: self._runs(entrant.label, ball, task) for task in before}
                whole = {task: found for task, found in rows.items() if len(found) == len(self.plan.seeds)}
                missing += len(self.plan.tasks) * len(self.plan.seeds) - sum(map(len, rows.values()))
                for task, found in whole.items():
                    options = entrant.options(found[0][0].config)
                    tasks[entrant.label, ball, task] = self._outcome([(task, found)], options)
                if measured and all(task in whole for task in measured):
                    means[entrant.label, ball] = self._outcome([(task, whole[task]) for task in measured])
        return Findings(before, means, tasks, missing)

    def _runs(self, label: str, ball: float | None, task: str) -> list[tuple[Cell, Any]]:
        found = [
            (cell, told) for cell, told in self.done.items()
            if (cell.label, cell.ball, cell.task, cell.split) == (label, ball, task, "test")
        ]  # fmt: skip
        return sorted(found, key=lambda one: one[0].seed)

    def _outcome(
        self, found: Sequence[tuple[str, list[tuple[Cell, Any]]]], config: Mapping[str, Any] | None = None
    ) -> Outcome:
        told = [row for _, runs in found for _, row in runs]
        kept = [row for row in told if not row["state"]]
        gain = mean_of([self._gain(task, runs) for task, runs in found])
        hard = mean_of([one for task, runs in found if (one := self._hard(task, runs))])
        assert gain is not None
        return Outcome(
            gain.figure(), hard and hard.figure(), fmean(row["rise"]["held_out"] for row in kept) if kept else None,
            len(told), dict(Counter(row["state"] for row in told if row["state"])), config,
            next((row["problem"] for row in told if row["state"]), None),
        )  # fmt: skip

    def _gain(self, task: str, runs: Sequence[tuple[Cell, Any]]) -> Spread:
        found = spread([self._gained(task, told) for _, told in runs], crc32(task.encode()))
        assert found is not None
        return found

    def _gained(self, task: str, told: Mapping[str, Any]) -> list[Grade]:
        half, before = self.halves[task], self.values[task]["test"]["eval"]
        about = [half.eval[place][0] for place in told["asked"]]
        was = [before[place] for place in told["asked"]]
        now = was if told["state"] else told["eval"]
        grades = [float(met(half.task, after)) - met(half.task, old) for after, old in zip(now, was, strict=True)]
        return list(zip(about, grades, strict=True))

    def _hard(self, task: str, runs: Sequence[tuple[Cell, Any]]) -> Spread | None:
        """Rises of the hard negatives' loss, in runs that left something."""
        half, before = self.halves[task], self.values[task]["test"]["hard"]
        rises = [
            [(about, now - was) for (about, _), now, was in zip(half.hard_negatives, told["hard"], before, strict=True)]
            for _, told in runs if not told["state"]
        ]  # fmt: skip
        return spread(rises, crc32(task.encode()))

    def _before(self, name: str) -> TaskBefore:
        half, values = self.halves[name], self.values[name]["test"]
        train, scored = self._success(half, half.train, values["train"]), self._success(half, half.eval, values["eval"])
        right = None
        if half.task.goal == "contrast":
            right = share((about, value > 0) for (about, _), value in zip(half.eval, values["eval"], strict=True))
        moved = self._gain(name, runs).figure() if (runs := self._runs(UNBOUNDED, None, name)) else None
        return TaskBefore(
            half.task.goal, half.task.threshold, train, scored, fmean(values["eval"]), right, moved,
            unmeasurable(train, scored, right, moved),
        )  # fmt: skip

    def _success(self, half: Half, part: Sequence[tuple[str, Any]], values: Sequence[float]) -> Figure:
        figure = share((about, met(half.task, value)) for (about, _), value in zip(part, values, strict=True))
        assert figure is not None
        return figure


def unmeasurable(train: Figure, scored: Figure, right: Figure | None, moved: Figure | None) -> str | None:
    """Why a task can tell nothing about methods on this model; None where it can.

    Either there is nothing to correct: of the examples and of what is scored, nine tenths are done before any edit. Or
    there is no behaviour: which of two choices is right is a coin's toss to the model, and not even an edit without a
    ball moves that.
    """
    if train.value >= DONE and scored.value >= DONE:
        return f"nothing to correct: {train.value:.0%} of the examples and {scored.value:.0%} of the rest are done"
    tossed = right is not None and right.low <= 0.5 <= right.high
    if right is not None and tossed and moved is not None and moved.low <= 0:
        gained, low, high = (100 * number for number in (moved.value, moved.low, moved.high))
        return (
            f"no behaviour to correct: {right.value:.0%} of the right choices are the likelier ones, which is chance, "
            f"and an edit without a ball gains {gained:+.1f} points [{low:+.1f}, {high:+.1f}]"
        )
    return None
