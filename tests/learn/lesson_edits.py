"""Edits with rephrases and locality that tiny models can learn an editor from, and a course of one number."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from errata.edits import Edit, Probe
from errata.learn.course import Course
from errata.learn.lessons import Lesson


def edits(count: int, subjects: int | None = None) -> list[Edit]:
    """Edits about `subjects` different things (one each by default), two rephrases and a probe each."""
    return [
        Edit(
            f"Question {number}: where is town {number % (subjects or count)}?", "Rome",
            subject=f"town {number % (subjects or count)}",
            rephrases=(f"Say where it is {number}", f"Place of {number}?"),
            locality=(Probe(f"Who are you {number}?", "me"),),
        )
        for number in range(count)
    ]  # fmt: skip


class OneNumber(Course):
    """Learns the number 3 by its distance; `broken` makes the loss NaN, or validation rise, from that step on."""

    def __init__(self, *, nan_at: int | None = None, rise_at: int | None = None, lr: float = 0.2) -> None:
        self.number = nn.Parameter(torch.zeros(()))
        self.noise = torch.zeros(())
        self.lr, self.nan_at, self.rise_at, self.steps = lr, nan_at, rise_at, 0
        self.seen: list[list[str]] = []
        self.drawn: list[float] = []

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.number], "lr": self.lr}]

    def step(self, lessons: Sequence[Lesson], rng: random.Random) -> Mapping[str, float]:
        self.seen.append([lesson.edit.prompt for lesson in lessons])
        self.drawn.append(rng.random())
        self.noise = self.noise + self.drawn[-1]
        loss = (self.number - 3).square() + 0.01 * self.drawn[-1] * self.number
        if self.nan_at is not None and len(self.seen) > self.nan_at:
            loss = loss * float("nan")
        loss.backward()
        return {"loss": float(loss.detach())}

    def validate(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        far = 1e3 if self.rise_at is not None and len(self.seen) >= self.rise_at else 0.0
        return {"loss": float((self.number.detach() - 3).square()) + far, "success": 0.5, "drawdown": 0.25}

    def state(self) -> dict[str, Tensor]:
        return {"number": self.number.detach().clone(), "noise": self.noise}

    def load(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.number.copy_(state["number"])
        self.noise = state["noise"]
