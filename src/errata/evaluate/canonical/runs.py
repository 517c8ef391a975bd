"""One run of a study: some examples of a task learned by one method in one ball, and what became of everything else.

Knows methods and tasks as such. What is run, and where it is kept, `study` knows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from math import log
from typing import Any

import torch

from errata.datasets import Example
from errata.datasets._canonical import Canonical, Split
from errata.edits import Edit
from errata.errors import ErrataError
from errata.evaluate.canonical.scoring import kept, values
from errata.evaluate.texts import Reference, general_texts
from errata.methods._base import create
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.solve.ball import Ball
from errata.solve.nested import once

MEASURED = ("eval", "hard")  # values that a run outside of its ball does not keep

# What may have become of a run that leaves nothing: the method refused, found nothing to do, or left its ball.
REFUSED, NOTHING, OUTSIDE = "refused", "without a patch", "outside"


@dataclass(frozen=True)
class Half:
    """One half of a task: examples with whom they are about."""

    task: Canonical
    train: Sequence[tuple[str, Example]]
    eval: Sequence[tuple[str, Example]]
    hard_negatives: Sequence[tuple[str, Example]]

    @classmethod
    def of(cls, task: Canonical, split: Split) -> Half:
        """Raises: BadEdit (a file is missing or malformed)."""
        return cls(task, *(task.grouped(part, split) for part in ("train", "eval", "hard_negatives")))

    def drawn(self, count: int, seed: int) -> list[int]:
        """At most so many examples to learn from, by their places, in the seed's order."""
        return random.Random(seed).sample(range(len(self.train)), min(count, len(self.train)))

    def asked(self, drawn: Sequence[int]) -> list[int]:
        """What is scored then: all but what is about subjects whose example was not drawn."""
        known, learned = {about for about, _ in self.train}, {self.train[place][0] for place in drawn}
        return [place for place, (about, _) in enumerate(self.eval) if about in learned or about not in known]

    def edits(self, drawn: Sequence[int]) -> list[Edit]:
        """The examples as edits, by no other name than their place."""
        return [replace(self.task.edit(self.train[place][1]), id=f"example-{place:04d}") for place in drawn]

    def measure(self, model: EditableModel, asked: Sequence[int]) -> dict[str, list[float]]:
        """Values of the scored examples (see `values`) and nats of the hard negatives, as the model is now."""
        found = values(model, self.task, [self.eval[place][1] for place in asked])
        return {"eval": found, "hard": kept(model, [example for _, example in self.hard_negatives])}


class General:
    """A model's loss on general text: on that of the ball, and on prose that neither ball nor model has read."""

    def __init__(self, model: EditableModel, texts: int) -> None:
        """Raises: BadConfig (the model does not write text)."""
        self.ball = Ball.around(model, 1.0)  # of any size: what is asked of it is the loss
        self.reference = Reference(model, general_texts(model, texts))
        self.held_out = self._held_out()

    def rises(self) -> dict[str, float]:
        """By which shares the losses are above what they were."""
        return {"ball": self.ball.loss() / self.ball.start - 1, "held_out": self._held_out() / self.held_out - 1}

    def _held_out(self) -> float:
        return log(self.reference.perplexity(len(self.reference.texts)))


def run(
    model: EditableModel, general: General, half: Half, method: str, options: Mapping[str, Any],
    *, examples: int, seed: int,
) -> dict[str, Any]:
    """Learn from `examples` drawn by `seed`, and measure; as JSON values. On return the model is as it was.

    A run that leaves nothing that would be kept has a "state" that says why, and no values.
    """
    drawn = half.drawn(examples, seed)
    asked = half.asked(drawn)
    found: dict[str, Any] = {"drawn": drawn, "asked": asked, "state": None}
    started = time.perf_counter()
    try:
        patch, problem = _fitted(model, half.edits(drawn), method, {**options, "seed": seed})
    except ErrataError as error:
        return found | {"state": REFUSED, "problem": str(error)}
    found["seconds"] = round(time.perf_counter() - started, 2)
    if patch is None:
        return found | {"state": NOTHING, "problem": problem}
    ball = options.get("ball")
    # Balls of several sizes often end at the same state.
    found |= once(_digest(patch), lambda: _measured(model, general, half, patch, asked)) | {"problem": problem}
    if ball is not None and not found["rise"]["ball"] < ball:
        return {name: value for name, value in found.items() if name not in MEASURED} | {"state": OUTSIDE}
    return found


def _measured(
    model: EditableModel, general: General, half: Half, patch: Patch, asked: Sequence[int]
) -> dict[str, Any]:
    """What the patch does to general text and to the half's values."""
    with _attached(patch, model):
        values = {name: rounded(numbers) for name, numbers in half.measure(model, asked).items()}
        return {"rise": general.rises(), **values}


def _digest(patch: Patch) -> str:
    """Of what the patch does, whatever the options that led to it."""
    header = {name: value for name, value in patch.header().items() if name != "config"}
    digest = sha256(repr(header).encode())
    for name, tensor in sorted(patch.tensors().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _fitted(
    model: EditableModel, edits: Sequence[Edit], method: str, options: Mapping[str, Any]
) -> tuple[Patch | None, str | None]:
    """The patch, and what the method says of the first edit that it gave up on. Raises: ErrataError."""
    maker = create(method, options)
    maker.check(edits)
    fit = maker.fit(model, edits)
    problems = [str(told["problem"]) for told in fit.figures.values() if told.get("problem")]
    return fit.patch, problems[0] if problems else None


@contextmanager
def _attached(patch: Patch, model: EditableModel) -> Iterator[None]:
    patch.attach(model)
    try:
        yield
    finally:
        patch.detach(model)


def rounded(numbers: Sequence[float]) -> list[float]:
    """As results keep them."""
    return [round(number, 5) for number in numbers]
