"""MEMOIR: a residual memory with a mask of its own for every edit (Wang et al., 2025).

A matrix of zeros beside one down-projection is trained; an edit reads only the inputs its fingerprint lets through, and
at inference a token that shares enough of a stored fingerprint is read through that one. As published the
fingerprint is of the prompt's mean input, frozen for what follows. A causal model does not know where a prompt ends, so
here every token has its own: the prompt's last one and those of the target, end included. Measured on a model of the
lab, the last token's tells rephrasings of a fact from other facts far better than the mean's. Weight decay, which in
code at hand wears off the whole matrix at every step, is left out; rates are in units of typical outputs and inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.methods._base import option, register_method
from errata.methods._residual import Bench, Residual, ResidualConfig
from errata.models import EditableModel
from errata.patches.memories import Fingerprints
from errata.patches.shares import Share
from errata.solve.residuals import Asked, Lesson, Tutor
from errata.statistics.background import Background


@register_method("memoir", paper="arXiv:2506.07899", patch="residual")
class Memoir(Residual):
    """A matrix beside one MLP, read through an edit's own mask where a token's strongest inputs resemble the edit's."""

    @dataclass(frozen=True)
    class Config(ResidualConfig):
        # Slow and thorough: at twice the rate and three times the loss streams decay sooner.
        layer: int | float = option(0.6, "block beside whose MLP the matrix stands: number, or fraction of the depth")
        lr: float = option(1.0, "rate of descent, in units of typical outputs over typical inputs")
        enough: float = option(0.1, "an edit is done when its loss is below this and its target greedy, nats a token")
        kept: float = option(0.28, "share of the inputs that a mask lets through")
        threshold: float = option(0.75, "share of a stored mask that a token's own must have to be read through it")

    def rule(self, model: EditableModel, background: Background) -> Fingerprints:
        kept = max(1, round(self.config.kept * len(background.mean)))
        return Fingerprints(kept, self.config.threshold, self.config.seed, background.mean)

    def tutor(self, bench: Bench) -> Tutor:
        unit = bench.background.written / (bench.background.read * self.config.kept**0.5)
        return bench.tutor(self.config, bench.memory.matrix.clone(), unit)

    def lesson(self, bench: Bench, asked: Asked, number: int) -> Lesson:
        masks = _masks(bench, asked)[asked.number]
        return Lesson.of(asked, asked.inputs * masks, bench.memory.rows)

    def share(self, bench: Bench, tutor: Tutor, lessons: Sequence[Lesson]) -> Share:
        masks = [_masks(bench, lesson.asked) for lesson in lessons]
        starts = torch.tensor([0, *map(len, masks)]).cumsum(0).tolist()
        return Share.of(
            [str(lesson.asked.edit.id) for lesson in lessons],
            torch.cat([lesson.written for lesson in lessons]), torch.cat([lesson.read for lesson in lessons]),
            masks=torch.cat(masks),
            mask=torch.cat([lesson.asked.number + start for lesson, start in zip(lessons, starts, strict=False)]),
        )  # fmt: skip


def _masks(bench: Bench, asked: Asked) -> Tensor:
    """(t, d_in) bool: those of the bare prompt's tokens; after other contexts they are read through the same."""
    return bench.rule.masks(asked.inputs[: asked.tokens])
