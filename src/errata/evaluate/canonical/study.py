"""Running a study: the unedited model, and for every task, method and ball validation and then the reported runs.

Each finished run stands on the disk; interrupted, a study goes on with those that are missing. Knows plans and runs;
what they amount to `outcome` knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from errata import datasets
from errata.datasets._canonical import Canonical, Split
from errata.errors import BadConfig
from errata.evaluate.canonical.folder import UNBOUNDED, Cell, Folder
from errata.evaluate.canonical.plan import Entrant, Plan
from errata.evaluate.canonical.runs import General, Half, rounded, run
from errata.evaluate.canonical.scoring import met, values
from errata.evaluate.runner import environment
from errata.models import EditableModel
from errata.solve.nested import nested

SPLITS: tuple[Split, ...] = get_args(Split)
Halves = Mapping[tuple[str, Split], Half]


def conduct(plan: Plan, out: str | Path, *, resume: bool = False, progress: bool = False) -> Folder:
    """Run a study, or what is missing of it, into the directory `out`.

    Raises: UnknownName, BadConfig, BadEdit, BadModel before any work. What a method refuses is noted as a run.
    """
    plan.check()
    found = halves(plan)
    model = EditableModel.load(plan.model)
    model.check()
    folder = Folder.start(out, plan, resume=resume)
    folder.bind({"model": model.fingerprint(), "data": _digest(found)})
    folder.write("environment.json", environment())
    if folder.read("before.json") is None:
        folder.write("before.json", _before(model, found))
    with tqdm(total=count(folder.plan), unit="run", disable=not progress) as bar:
        _Study(folder, model, found, bar).go()
    return folder


def halves(plan: Plan) -> dict[tuple[str, Split], Half]:
    """The examples of every task. Raises: UnknownName, BadConfig (a data set of another kind), BadEdit."""
    return {(name, split): Half.of(task_of(name), split) for name in plan.tasks for split in SPLITS}


def task_of(name: str) -> Canonical:
    """The task of this name or NAME=PATH. Raises: UnknownName, BadConfig, BadEdit."""
    task = datasets.open(name)
    if not isinstance(task, Canonical):
        raise BadConfig(f"'{name}' is no set of canonical examples; `errata datasets` says which are")
    return task


def count(plan: Plan) -> int:
    """How many runs a plan comes to."""
    of_a_ball = sum(len(_trials(plan, entrant, "", 0.0)) + len(plan.seeds) for entrant in plan.methods)
    return len(plan.tasks) * (len(plan.balls) * of_a_ball + (plan.unbounded is not None))


class _Study:
    """A study under way."""

    def __init__(self, folder: Folder, model: EditableModel, found: Halves, bar: tqdm[Any]) -> None:
        self.folder, self.plan, self.found, self.bar = folder, folder.plan, found, bar
        self.model, self.general = model, General(model, folder.plan.texts)
        self.done, self.before = folder.runs(), folder.read("before.json")

    def go(self) -> None:
        for task in self.plan.tasks:
            if self.plan.unbounded:
                self._run(self.plan.unbounded, Cell(UNBOUNDED, 0, task, "test", None, self.plan.seeds[0]))
            for entrant in self.plan.methods:
                self._settle(entrant, task)

    def _settle(self, entrant: Entrant, task: str) -> None:
        """Validation, and the reported runs with what it chose for each ball."""
        balls, seeds = self.plan.balls, self.plan.seeds
        trials = {ball: _trials(self.plan, entrant, task, ball) for ball in balls}
        for config in range(len(entrant.sweep)):
            self._all(entrant, [cells[config] for cells in trials.values() if cells])
        chosen = {ball: self._best(trials[ball], task) for ball in balls}
        for config in sorted(set(chosen.values())):
            for seed in seeds:
                own = [ball for ball in balls if chosen[ball] == config]
                self._all(entrant, [Cell(entrant.label, config, task, "test", ball, seed) for ball in own])

    def _all(self, entrant: Entrant, cells: list[Cell]) -> None:
        """Runs that differ in their ball alone."""
        with nested(self.plan.balls):
            for cell in cells:
                self._run(entrant, cell)

    def _run(self, entrant: Entrant, cell: Cell) -> None:
        self.bar.set_description(f"{cell.task} {cell.label}")
        if cell not in self.done:
            options = {**entrant.options(cell.config), "ball": cell.ball}
            half, method = self.found[cell.task, cell.split], entrant.contender.method
            told = run(self.model, self.general, half, method, options, examples=self.plan.examples, seed=cell.seed)
            self.folder.append(cell, told)
            self.done[cell] = told
        self.bar.update()

    def _best(self, trials: list[Cell], task: str) -> int:
        """The set of options that gained most on validation; the first of equals."""
        before = self.before[task]["val"]["eval"]
        gained = [gain(self.found[task, "val"].task, self.done[cell], before) for cell in trials]
        return gained.index(max(gained)) if gained else 0


def gain(task: Canonical, told: Mapping[str, Any], before: list[float]) -> float:
    """Share of what a run was asked that is done now, less the share that was; 0 of a run that leaves nothing."""
    if told["state"] or not told["asked"]:
        return 0.0
    pairs = zip(told["eval"], (before[place] for place in told["asked"]), strict=True)
    return sum(met(task, now) - met(task, was) for now, was in pairs) / len(told["asked"])


def _trials(plan: Plan, entrant: Entrant, task: str, ball: float) -> list[Cell]:
    """Runs on validation, with the first seed; none where there is nothing to choose."""
    if len(entrant.sweep) == 1:
        return []
    return [Cell(entrant.label, config, task, "val", ball, plan.seeds[0]) for config in range(len(entrant.sweep))]


def _before(model: EditableModel, found: Halves) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for (name, split), half in found.items():
        train = values(model, half.task, [example for _, example in half.train])
        measured = half.measure(model, range(len(half.eval)))
        told.setdefault(name, {})[split] = {"train": rounded(train), **{k: rounded(v) for k, v in measured.items()}}
    return told


def _digest(found: Halves) -> str:
    content = [
        [name, split, repr(half.train), repr(half.eval), repr(half.hard_negatives)]
        for (name, split), half in found.items()
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
