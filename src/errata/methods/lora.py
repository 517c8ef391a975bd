"""LoRA (Hu et al., 2021) on the edits alone, through the peft library: low-rank factors on the MLPs of every block.

The factors are trained inside peft's own layers and then taken out as a weight patch; nothing of peft stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers.pytorch_utils import Conv1D

from errata.edits import GOALS, Edit
from errata.methods._base import Fit, Method, option, register_method
from errata.methods._examples import GoalConfig, bounds
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.weights import LowRank, WeightPatch
from errata.solve.descent import Held, descend
from errata.solve.goals import aims

ADAPTER = "errata"


@register_method("lora", paper="arXiv:2106.09685", patch="weights", goals=GOALS)
class Lora(Method):
    """Adam on low-rank factors of the chosen matrices until every target is the greedy answer."""

    @dataclass(frozen=True)
    class Config(GoalConfig):
        rank: int = option(8, "rank of every factor pair")
        alpha: float = option(16.0, "scale of the update is alpha / rank")
        role: Literal["mlp_down", "mlp_up", "attn_out"] = option(
            "mlp_down", "which matrix of every block is adapted"
        )
        lr: float = option(1e-3, "learning rate of Adam")
        steps: int = option(100, "most optimisation steps")
        enough: float = option(0.2, "stop when the loss of every edit is below this, nats a token")
        rows: int = option(64, "edits in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        config = self.config
        paths = [model.arch.matrix(layer, config.role) for layer in range(len(model.arch))]
        with model.preserved(), self._adapted(model, paths) as layers:
            moving = [weight for layer in layers.values() for weight in self._factors(layer)]
            descent = descend(
                model, dict.fromkeys(moving, config.lr), aims(model, edits, config.rows), steps=config.steps,
                enough=config.enough, schedule=config.schedule, **bounds(model, config, Held()),
            )  # fmt: skip
            deltas = {
                f"{path}.weight": LowRank(
                    b.detach().float() * layer.scaling[ADAPTER], a.detach().float().clone()
                )
                for path, layer in layers.items()
                for a, b in [self._factors(layer)]
            }
        patch = WeightPatch(
            deltas, method=self.name, config=config.to_json(), edits=[str(e.id) for e in edits]
        )
        return Fit(patch, descent.figures(edits))

    @staticmethod
    def _factors(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
        """A (r, d_in) and B (d_out, r) of one of peft's layers."""
        return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight

    @contextmanager
    def _adapted(self, model: EditableModel, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The model with peft's layers at `paths`, and the very modules it had before when the context ends."""
        from peft import LoraConfig, inject_adapter_in_model

        originals = {path: model.model.get_submodule(path) for path in paths}
        config = LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]
            target_modules=list(paths),
            lora_dropout=0.0,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in originals.values()),
        )
        before = dict(vars(model.model))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.config.seed)
                inject_adapter_in_model(config, model.model, adapter_name=ADAPTER)
            yield {path: model.model.get_submodule(path) for path in paths}
        finally:
            for path, module in originals.items():
                model.model.set_submodule(path, module)
            for name in set(vars(model.model)) - set(before):
                delattr(model.model, name)
