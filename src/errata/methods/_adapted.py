"""A gate at one block and an answer behind it, trained together on a call's edits: what `defer` and `memory` share.

Knows the site, the descent and the patch it leaves. What answers behind the gate is each method's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import BadConfig
from errata.methods._base import Fit, Method, MethodConfig, option
from errata.methods._sites import site
from errata.models import EditableModel
from errata.patches.adaptor import AdaptorPatch, Gate
from errata.patches.base import Patch
from errata.solve.adaptors import Draft, Frame, Looked, shut, train_adaptor
from errata.solve.descent import batches


@dataclass(frozen=True)
class AdaptorConfig(MethodConfig):
    """Where the gate sits, where it starts to open, and how it is trained."""

    layer: Literal["auto"] | int | float = option(
        "auto", "block whose output is replaced: number, or fraction of the depth"
    )
    opening: float = option(
        0.85, "where the gate starts to open: share of the way from an average token's state to the edits' own, below 1"
    )
    shut: float = option(
        0.0, "weight of a loss that keeps the gate shut on the edits' locality prompts; 0 as published: edits alone"
    )
    lr: float = option(0.1, "learning rate of Adam, in units of a typical coordinate of the state")
    steps: int = option(100, "most optimisation steps")
    lead: float = option(1.0, "stop once every token of the target leads all others by this many logits")
    rows: int = option(64, "edits in one forward")


class Adaptor(Method):
    """One gate and one answer for all edits of a call."""

    Config = AdaptorConfig

    @abstractmethod
    def draft(self, frame: Frame) -> Draft:
        """What is to be trained."""

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        config = self.config
        if not config.opening < 1:
            raise BadConfig(f"option 'opening' is {config.opening}; give less than 1, or the gate never opens")
        layer = site(model, config.layer)
        with model.preserved():
            looked = [Looked.at(model, batch, layer) for batch in batches(model, edits, config.rows)]
            adapted = train_adaptor(
                looked, self.draft(Frame.of(looked, config.opening)), lr=config.lr, steps=config.steps,
                lead=config.lead, penalty=self._penalty(model, edits, layer),
            )  # fmt: skip
        figures = adapted.descent.figures(edits)
        if any(loss != loss for loss in adapted.descent.losses):
            return Fit(None, figures)
        patch = AdaptorPatch(
            layer, adapted.gate, adapted.answer, method=self.name, config=config.to_json(),
            edits=[str(edit.id) for edit in edits],
        )  # fmt: skip
        return Fit(patch, figures)

    def _penalty(self, model: EditableModel, edits: Sequence[Edit], layer: int) -> Callable[[Gate], Tensor] | None:
        prompts = [probe.prompt for edit in edits for probe in edit.locality]
        if not prompts or not self.config.shut > 0:
            return None
        size = self.config.rows
        parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        keep_shut = shut(torch.cat([Looked.at(model, model.encode(part), layer).states for part in parts]))
        return lambda gate: self.config.shut * keep_shut(gate)
