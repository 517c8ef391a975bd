"""MEMIT: mass-editing memory in a transformer (Meng et al., 2023). Many edits at once, spread over early MLPs.

Each block takes its share of what its subjects' states still lack, by least squares that weigh the keys of ordinary
text with lambda. Edits made before are not protected: memit-seq does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from errata.methods._base import option, register_method
from errata.methods._located import CAUSAL, Located, WeighedConfig
from errata.methods._work import Work, spread
from errata.solve.linear import Prior, Solution, solve


@register_method("memit", paper="arXiv:2210.07229", patch="weights", tasks=CAUSAL, goals=("raise",))
class Memit(Located):
    """One linear solve per block for all edits of a call."""

    weigh = 0.5

    @dataclass(frozen=True)
    class Config(WeighedConfig):
        ridge: float = option(0.0, "weight of the update's squared norm (ENCORE: 20)")

    def _write(self, work: Work) -> list[dict[str, Any]]:
        def solved(layer: int, keys: Tensor, residual: Tensor) -> Solution:
            prior = Prior(work.moments[layer], work.config.weight)
            return solve(keys, residual, prior=prior, ridge=work.config.ridge)

        return spread(work, self.site, solved)
