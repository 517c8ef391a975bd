"""PMET: precise model editing (Li et al., 2024). Attention's share of a target state is found, but not written.

Two shifts are optimised, of the attention's and of the MLP's output at the last edited block; only the MLP's becomes an
update, so that it need not carry what attention contributes. A residual is spread by square roots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from errata.methods._base import register_method
from errata.methods._located import CAUSAL, Located, WeighedConfig
from errata.methods._work import Work, spread
from errata.solve.linear import Prior, Solution, solve


@register_method("pmet", paper="arXiv:2308.08742", patch="weights", tasks=CAUSAL)
class Pmet(Located):
    """MEMIT's system for the MLP's own target outputs."""

    Config = WeighedConfig
    table = "pmet"
    site = "mlp+attention"
    weigh = 0.05
    own: ClassVar[Mapping[str, Any]] = {"steps": 60}

    def _write(self, work: Work) -> list[dict[str, Any]]:
        def solved(layer: int, keys: Tensor, residual: Tensor) -> Solution:
            return solve(keys, residual, prior=Prior(work.moments[layer], work.config.weight))

        return spread(work, self.site, solved, power=0.5)
