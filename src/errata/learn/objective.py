"""By what an editor is judged while it is trained: answers after the edit, and other answers that must not move.

0.1 times the cross-entropy of the wanted answers of the edited model, and the divergence of its other answers from
those of the model without the edit (MEND, SaLEM, ENN). Knows lessons, batches and logits; not how the model is edited.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from errata.edits import Probe
from errata.learn.lessons import Lesson, Lessons
from errata.models import Batch, EditableModel
from errata.models.losses import IGNORED


@dataclass(frozen=True)
class Asked:
    """Prompts with the answers they are compared with."""

    prompts: list[str]
    answers: list[str]

    def __len__(self) -> int:
        return len(self.prompts)

    def __add__(self, other: Asked) -> Asked:
        return Asked(self.prompts + other.prompts, self.answers + other.answers)

    def batch(self, model: EditableModel) -> Batch:
        return model.encode(self.prompts, self.answers)


def with_answers(model: EditableModel, lessons: Lessons, *, longest: int = 12) -> Lessons:
    """The lessons with an answer for every locality probe: the model's own where none is given.

    A probe that the model answers with nothing is left out.
    """
    both = (*lessons.training, *lessons.validation)
    unknown = list({probe.prompt: None for one in both for probe in one.locality if probe.answer is None})
    if not unknown:
        return lessons
    said = dict(zip(unknown, model.generate(unknown, max_new_tokens=longest), strict=True))

    def answered(lesson: Lesson) -> Lesson:
        probes = [Probe(one.prompt, one.answer or said[one.prompt] or None, one.kind) for one in lesson.locality]
        return replace(lesson, locality=tuple(probe for probe in probes if probe.answer is not None))

    training, validation = (
        tuple(answered(lesson) for lesson in side) for side in (lessons.training, lessons.validation)
    )
    return Lessons(training, validation, lessons.seed)


def wanted(lessons: Sequence[Lesson], rng: random.Random) -> Asked:
    """For every lesson one wording, drawn from the edit's own and its rephrasings, with the target."""
    drawn = [rng.choice([(lesson.edit.prompt, lesson.edit.target), *lesson.outer]) for lesson in lessons]
    return Asked([prompt for prompt, _ in drawn], [target for _, target in drawn])


def kept(lessons: Sequence[Lesson], rng: random.Random) -> Asked:
    """For every lesson one locality probe, drawn; none that asks what another lesson of the batch edits."""
    edited = {lesson.edit.prompt for lesson in lessons} | {prompt for one in lessons for prompt, _ in one.outer}
    drawn = []
    for lesson in lessons:
        free = [probe for probe in lesson.locality if probe.prompt not in edited]
        if free:
            drawn.append(rng.choice(free))
    return Asked([probe.prompt for probe in drawn], [str(probe.answer) for probe in drawn])


def log_chances(logits: Tensor, gold: Tensor) -> Tensor:
    """Log-probabilities (N, V), float32, at the N scored positions, row by row."""
    gold = gold[:, gold.shape[1] - logits.shape[1] :]
    return functional.log_softmax(logits[gold != IGNORED].float(), -1)


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """Mean of KL(before || after) over positions, nats; both are log-probabilities (N, V)."""
    return (before.exp() * (before - after)).sum(-1).mean()


@torch.no_grad()
def right(logits: Tensor, gold: Tensor) -> Tensor:
    """(B,) bool: is every gold id the first choice?"""
    chosen = logits.argmax(-1)
    gold = gold[:, gold.shape[1] - chosen.shape[1] :]
    return ((chosen == gold) | (gold == IGNORED)).all(1)


Figures = Callable[[Sequence[Lesson], random.Random], Mapping[str, tuple[float, int]]]
"""Means over lessons that are made together as one batch of edits, each with how many it is of."""


def averaged(figures: Figures, lessons: Sequence[Lesson], size: int) -> dict[str, float]:
    """Figures over the lessons in batches of `size`, each drawn from a generator of its own, the same at every call."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for number, start in enumerate(range(0, len(lessons), size)):
        part = lessons[start : start + size]
        for name, (value, n) in figures(part, random.Random(f"validation {number}")).items():
            sums[name] = sums.get(name, 0.0) + value * n
            counts[name] = counts.get(name, 0) + n
    return {name: sums[name] / max(1, counts[name]) for name in sums}
