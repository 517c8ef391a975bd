"""NSE: neuron-level sequential editing (Jiang et al., 2025). Targets from the original weights, few neurons, sweeps.

Weights are rewound for the target states: they are found with this method's earlier patches off, which keeps their
norms from growing edit by edit. Facts that are nearly there, or hopelessly far, are left out of a sweep. The keys of
earlier edits are those that the attached patches carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from errata.methods._base import option, register_method
from errata.methods._located import CAUSAL, Located, WeighedConfig
from errata.methods._work import Work, edited_keys, remembered, residuals, spread
from errata.models import EditableModel
from errata.solve.linear import Prior, Solution, solve


@register_method("nse", paper="arXiv:2410.04045", patch="weights", tasks=CAUSAL)
class Nse(Located):
    """MEMIT's system restricted to the neurons that carry the keys, in sweeps over the facts that still need it."""

    table = "nse"
    weigh = 1.0
    own: ClassVar[Mapping[str, Any]] = {"rewind": True, "low": 0.1, "high": 4.0, "share": 0.9}

    @dataclass(frozen=True)
    class Config(WeighedConfig):
        share: Literal["auto"] | float = option(
            "auto", "share of the keys' absolute sum whose neurons are edited; 1: all of them"
        )
        low: Literal["auto"] | float = option(
            "auto", "residual below which a fact needs no more; if `unit` is state, by the mean residual"
        )
        high: Literal["auto"] | float = option("auto", "residual above which a fact is left out of a sweep, likewise")
        sweeps: int = option(2, "most sweeps over the blocks")

    def _past(self, model: EditableModel, config: Any) -> dict[int, Tensor]:
        return remembered(model, self.name)

    def _write(self, work: Work) -> list[dict[str, Any]]:
        unit, told = 0.0, [{"sweeps": 0} for _ in work.facts.edits]
        for _ in range(work.config.sweeps):
            sizes = residuals(work, -1, self.site).norm(dim=0)
            unit = unit or (float(sizes.mean()) if work.config.unit == "state" else 1.0)
            open_ = (sizes > work.config.low * unit) & (sizes < work.config.high * unit)
            chosen = open_.nonzero()[:, 0].tolist()
            if not chosen:
                break
            part = replace(
                work, facts=work.facts.only(chosen), targets=[targets.only(chosen) for targets in work.targets]
            )
            for place, one in zip(chosen, spread(part, self.site, self._solver(part)), strict=True):
                told[place] = {**one, "sweeps": told[place]["sweeps"] + 1}
        return told

    def _solver(self, work: Work) -> Any:
        def solved(layer: int, keys: Tensor, residual: Tensor) -> Solution:
            prior = Prior(work.moments[layer], work.config.weight)
            neurons = salient(keys, work.config.share) if work.config.share < 1 else None
            return solve(keys, residual, prior=prior, past=work.past.get(layer), coordinates=neurons)

        return solved

    def _memory(self, work: Work) -> dict[str, Tensor]:
        return edited_keys(work, work.moments)


def salient(keys: Tensor, share: float) -> Tensor:
    """The neurons with the largest |k| summed over facts, as many as hold at most `share` of it; one at least."""
    scores, order = keys.abs().sum(1).sort(descending=True)
    held = scores.cumsum(0) / scores.sum()
    return order[: max(1, int((held <= share).sum()))].sort().values
