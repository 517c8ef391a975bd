"""Methods that rewrite matrices by a hypernetwork: training it, and turning its updates into a patch.

What MEND and SaLEM have in common. Which matrices are rewritten, and what of their gradients the network reads, is each
method's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.learn.course import Course
from errata.learn.hypernetwork import Hypernetwork, Site
from errata.learn.lessons import Lessons
from errata.learn.rewriting import Read, Rewriter, Rewriting, Weights, sites_of, sites_told
from errata.learn.trained import TrainedEditor
from errata.methods._base import Fit, option
from errata.methods._learned import LearnedConfig, LearnedMethod
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.weights import WeightPatch
from errata.solve.draft import Draft


@dataclass(frozen=True)
class RewritingConfig(LearnedConfig):
    """The network, and the two parts of its loss."""

    steps: int = option(300, "training: most optimiser steps")
    lr: float = option(2e-4, "training: learning rate of Adam")
    apart: float = option(
        0.1, "training: keep edits apart from ordinary inputs by the inverse of their second moment; ridge, 0 for not"
    )
    lr_steps: float = option(1e-2, "training: learning rate of the logarithm of the step sizes")
    step: float = option(1.5, "training: step size at the start; 1 changes what a matrix writes by its usual size")
    rank: int = option(256, "training: rank of the network's layers (published: 1920)")
    relu: Literal["all", "inner"] = option(
        "inner", "training: a relu after all layers (published), or all but the last"
    )
    edit_weight: float = option(0.1, "training: weight of the cross-entropy of the wanted answers")
    locality_weight: float = option(1.0, "training: weight of the divergence of other answers")
    passes: int = option(
        1, "most times that a batch is gone through, again only for edits that do not hold yet; 1 as published"
    )


class RewritingMethod(LearnedMethod):
    """A hypernetwork from gradients of edits to updates of matrices. Edits beyond one batch are made on top of it."""

    Config = RewritingConfig
    free = LearnedMethod.free | {"passes"}

    @abstractmethod
    def sites(self, model: EditableModel, lessons: Lessons) -> tuple[list[Site], dict[str, Any]]:
        """The matrices to rewrite, and why these, as JSON. Raises BadConfig, BadModel."""

    @property
    @abstractmethod
    def read(self) -> Read:
        """What the network sees of a batch's gradients."""

    def course(self, model: EditableModel, lessons: Lessons) -> Course:
        config = self.config
        sites, self._why = self.sites(model, lessons)
        network = self._network(sites).to(model.device)
        weights = Weights(config.edit_weight, config.locality_weight)
        return Rewriting(
            Rewriter(model, network, self.read), lessons, weights,
            batch=config.batch, lr=config.lr, lr_steps=config.lr_steps, ridge=config.apart,
        )  # fmt: skip

    def facts(self, course: Course) -> dict[str, Any]:
        assert isinstance(course, Rewriting)
        network = course.network
        size = sum(one.numel() for one in network.parameters())
        return {"sites": sites_told(network.sites), "step_sizes": network.steps(), "parameters": size, **self._why}

    def apply(self, model: EditableModel, editor: TrainedEditor, edits: Sequence[Edit], previous: Patch | None) -> Fit:
        network = self._network(sites_of(editor.facts["sites"], model))
        network.load_state_dict(dict(editor.tensors))
        rewriter = Rewriter(model, network.to(model.device).eval(), self.read)
        size = self.config.batch
        with model.preserved(), torch.no_grad(), Draft(model) as draft:
            for start in range(0, len(edits), size):
                self._make(rewriter, edits[start : start + size], draft)
            told, deltas = _told({name: draft.factors(name) for name in draft.names()}), draft.deltas()
        patch = WeightPatch(
            deltas, method=self.name, config=self.config.to_json(), edits=[str(edit.id) for edit in edits],
        )  # fmt: skip
        return Fit(patch, {str(edit.id): told for edit in edits})

    def _make(self, rewriter: Rewriter, batch: Sequence[Edit], draft: Draft) -> None:
        """Draft the updates for a batch, and again for those of its edits that do not hold with them."""
        left = list(batch)
        for number in range(1, self.config.passes + 1):
            for path, (B, A) in rewriter.updates(left).items():
                draft.add(f"{path}.weight", B, A)
            if number < self.config.passes:
                asked = rewriter.model.encode([edit.prompt for edit in batch], [edit.target for edit in batch])
                held = rewriter.model.greedy_match(asked).tolist()
                left = [edit for edit, holds in zip(batch, held, strict=True) if not holds]
                if not left:
                    return

    def _network(self, sites: Sequence[Site]) -> Hypernetwork:
        config = self.config
        return Hypernetwork(
            sites, rank=config.rank, step=config.step, relu=config.relu, seed=config.seed, apart=config.apart > 0
        )


def _told(updates: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """How large the updates are: the norm of all together, and the most tokens that one is made of."""
    squares = [float(((B.T @ B) * (A @ A.T)).sum()) for B, A in updates.values()]
    return {"update": sum(squares) ** 0.5, "terms": max(B.shape[1] for B, _ in updates.values())}
