"""AlphaEdit: null-space constrained editing (Fang et al., 2025). Updates stay where ordinary keys hardly reach.

What the model knows is protected by the projection alone; earlier edits by their keys, which the attached patches
carry. Many edits of one call keep better than one edit a call: rounds of 100 are how it was published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from errata.methods._base import option, register_method
from errata.methods._located import CAUSAL, Located, LocatedConfig
from errata.methods._work import Work, edited_keys, remembered, spread
from errata.models import EditableModel
from errata.solve.linear import Prior, Solution, solve
from errata.statistics import Projection, SecondMoment, null_space


@register_method("alphaedit", paper="arXiv:2410.02355", patch="weights", tasks=CAUSAL)
class AlphaEdit(Located):
    """MEMIT's targets and spread; the update is projected and its norm penalised."""

    table = "alphaedit"
    own: ClassVar[Mapping[str, Any]] = {"ridge": 0.005, "threshold": 0.0}

    @dataclass(frozen=True)
    class Config(LocatedConfig):
        ridge: Literal["auto"] | float = option(
            "auto", "L2, weight of the update's squared norm; if `unit` is state, by the mean squared norm of a key"
        )
        threshold: Literal["auto"] | float = option(
            "auto", "eigenvalue of the keys' second moment below which is written; 0: by `leak` instead"
        )
        leak: float = option(0.02, "share of the keys' energy in the space written to, where there is no threshold")

    def _past(self, model: EditableModel, config: Any) -> dict[int, Tensor]:
        return remembered(model, self.name)

    def _write(self, work: Work) -> list[dict[str, Any]]:
        def solved(layer: int, keys: Tensor, residual: Tensor) -> Solution:
            moment = work.moments[layer]
            unit = float(moment.matrix.trace()) if work.config.unit == "state" else 1.0
            return solve(
                keys, residual, prior=Prior(), past=work.past.get(layer), ridge=work.config.ridge * unit,
                projection=_projection(moment, work.config.threshold, work.config.leak),
            )  # fmt: skip

        return spread(work, self.site, solved)

    def _memory(self, work: Work) -> dict[str, Tensor]:
        return edited_keys(work, work.moments)


def _projection(moment: SecondMoment, threshold: float, leak: float) -> Projection:
    return null_space(moment, threshold=threshold) if threshold else null_space(moment, keep=leak)
