"""The one training loop of learned editors: Adam, clipping, validation with early stopping, and going on later.

What is trained, and by which losses, is a `Course`'s own. Knows lessons, optimisers and a directory.
"""

from __future__ import annotations

import json
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from errata.durable import write_atomic
from errata.errors import BadConfig
from errata.learn import checkpoint
from errata.learn.checkpoint import Checkpoint
from errata.learn.lessons import Lesson, Lessons
from errata.learn.plots import curve_png
from errata.plain import plain

FAR = 4.0
"""A validation loss so many times that of the start has diverged."""


class Course(ABC):
    """What a method gives the loop: parameters, losses with their gradients, and how well it does."""

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """Adam's parameter groups, each with "params" and "lr"."""

    @abstractmethod
    def step(self, lessons: Sequence[Lesson], rng: random.Random) -> Mapping[str, float]:
        """Add the gradients of the loss on these lessons to the parameters; returns "loss" and its parts.

        Whatever is drawn is drawn from `rng`, so that an interrupted training goes on as it would have.
        """

    @abstractmethod
    def validate(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        """"loss", the lower the better, with "success" and "drawdown" (shares) and whatever else is worth a curve."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: parameters and statistics."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps: optimiser steps, at most.
        batch: lessons in one batch.
        accumulate: batches to a step.
        every: steps between validations.
        patience: stop after so many validations without a lower loss.
        clip: largest norm of the gradient of one step.
        decay_from: share of the steps after which the learning rates fall, in a line, to zero; 1 for never.
    """

    steps: int
    batch: int
    accumulate: int = 1
    every: int = 100
    patience: int = 10
    clip: float = 100.0
    decay_from: float = 0.5

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "every", "patience"):
            if getattr(self, name) < 1:
                raise BadConfig(f"option '{name}' is {getattr(self, name)}; it must be 1 or more")
        if not self.clip > 0 or not 0 <= self.decay_from <= 1:
            raise BadConfig("option 'clip' must be more than 0, and 'decay_from' from 0 to 1")

    def rate(self, step: int) -> float:
        """Share of the full learning rate at `step`."""
        start = self.decay_from * self.steps
        return 1.0 if step < start else max(0.0, (self.steps - step) / (self.steps - start))


@dataclass(frozen=True)
class Outcome:
    """The best tensors of a training, and what is worth knowing of it: steps, seconds, figures of the best."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def train(
    course: Course,
    lessons: Lessons,
    out: Path,
    schedule: Schedule,
    *,
    work: Mapping[str, Any],
    title: str = "training",
    progress: bool = False,
) -> Outcome:
    """Train to the end of the schedule, or until validation has not become better for long.

    `out` gets the curve (curve.jsonl, curve.png) and, at every validation, a checkpoint that the same call goes on
    from; `work` says what "the same" is.

    Raises:
        BadConfig: `out` holds a checkpoint of other work; training diverged (the last good checkpoint stays).
    """
    out.mkdir(parents=True, exist_ok=True)
    kept = Checkpoint.load(out, work)
    optimizer = torch.optim.Adam(course.groups())
    if kept.step or kept.curve:
        course.load(kept.now)
        checkpoint.set_adam_state(optimizer, kept.adam)
    run = _Run(course, lessons, out, schedule, optimizer, kept, title)
    try:
        with tqdm(total=schedule.steps, initial=kept.step, unit="step", desc=title, disable=not progress) as bar:
            run.go(bar)
    finally:
        if kept.curve:
            write_atomic(out / "curve.png", curve_png(kept.curve, title))
    return run.outcome()


def finish(out: Path) -> None:
    """Delete the checkpoint: what was trained is kept elsewhere now."""
    (out / checkpoint.NAME).unlink(missing_ok=True)


class _Run:
    """One training in one directory, from wherever it stands."""

    def __init__(
        self,
        course: Course,
        lessons: Lessons,
        out: Path,
        schedule: Schedule,
        optimizer: torch.optim.Optimizer,
        kept: Checkpoint,
        title: str,
    ) -> None:
        self.course, self.lessons, self.out, self.schedule = course, lessons, out, schedule
        self.optimizer, self.kept, self.title = optimizer, kept, title
        self.full = [group["lr"] for group in optimizer.param_groups]
        self.losses: list[float] = []
        self.before = kept.seconds
        self.started = time.perf_counter()

    def go(self, bar: tqdm) -> None:
        kept, schedule = self.kept, self.schedule
        if not kept.curve:
            self._validate(bar)
        while kept.step < schedule.steps and not self._tired():
            self._step()
            bar.update()
            if kept.step % schedule.every == 0 or kept.step == schedule.steps:
                self._validate(bar)

    def outcome(self) -> Outcome:
        best = self._best()
        facts = {
            "steps": self.kept.step, "seconds": self.kept.seconds, "lessons": len(self.lessons.training),
            "validated_on": len(self.lessons.validation), "best": dict(best), "start": dict(self.kept.curve[0]),
        }  # fmt: skip
        return Outcome(self.kept.best, facts)

    def _step(self) -> None:
        kept, schedule = self.kept, self.schedule
        for part in range(schedule.accumulate):
            number = kept.step * schedule.accumulate + part
            rng = random.Random(f"step {self.lessons.seed} {number}")
            told = self.course.step(self.lessons.batch(number, schedule.batch), rng)
            self._check(told["loss"], "the loss")
            self.losses.append(told["loss"])
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        if schedule.accumulate > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad /= schedule.accumulate
        nn.utils.clip_grad_norm_(parameters, schedule.clip)
        for group, full in zip(self.optimizer.param_groups, self.full, strict=True):
            group["lr"] = full * schedule.rate(kept.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        kept.step += 1

    def _validate(self, bar: tqdm) -> None:
        kept = self.kept
        figures = dict(self.course.validate(self.lessons.validation))
        self._check(figures["loss"], "the validation loss")
        if kept.curve and figures["loss"] > FAR * max(kept.curve[0]["loss"], 1.0):
            self._diverged(f"the validation loss rose from {kept.curve[0]['loss']:.3g} to {figures['loss']:.3g}")
        kept.seconds = self.before + time.perf_counter() - self.started
        mean = sum(self.losses) / len(self.losses) if self.losses else None
        self.losses.clear()
        kept.curve.append(plain({"step": kept.step, "seconds": kept.seconds, "training_loss": mean, **figures}))
        kept.now = self.course.state()
        if self._best() is kept.curve[-1]:
            kept.best = {name: tensor.detach().clone() for name, tensor in kept.now.items()}
        kept.adam = checkpoint.adam_state(self.optimizer)
        rows = "".join(json.dumps(row) + "\n" for row in kept.curve)
        write_atomic(self.out / "curve.jsonl", rows.encode())
        kept.save(self.out)
        bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()})

    def _best(self) -> dict[str, Any]:
        return min(self.kept.curve, key=lambda row: row["loss"])

    def _tired(self) -> bool:
        rows = self.kept.curve
        return len(rows) - 1 - rows.index(self._best()) >= self.schedule.patience

    def _check(self, loss: float, what: str) -> None:
        if not math.isfinite(loss):
            self._diverged(f"{what} is not a number any more")

    def _diverged(self, why: str) -> None:
        best = self._best() if self.kept.curve else {"step": 0}
        raise BadConfig(
            f"{self.title} diverged at step {self.kept.step} ({why}); the checkpoint before that stays in {self.out} "
            f"(best: step {best['step']}); lower the learning rate (--lr) and give another directory"
        )
