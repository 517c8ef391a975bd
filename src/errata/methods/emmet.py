"""EMMET: equality-constrained mass editing (Gupta et al., 2024): ROME's constraint for a batch, at one block.

Every key is mapped to its target (up to `slack`), and ordinary keys move as little as that allows. Keys that nearly
repeat cannot all be: the pseudo-inverse then compromises, with a warning in the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from errata.methods._base import option, register_method
from errata.methods._located import CAUSAL, Located, LocatedConfig
from errata.methods._work import Work, spread
from errata.solve.linear import Prior, Solution, emmet


@register_method("emmet", paper="arXiv:2403.14236", patch="weights", tasks=CAUSAL)
class Emmet(Located):
    """One solve of the size of the batch, at one block."""

    table = "rome"
    site = "mlp"
    single = True
    usual = "0.25"
    own: ClassVar[Mapping[str, Any]] = {"clamp": 16.0, "lr": 0.5}

    @dataclass(frozen=True)
    class Config(LocatedConfig):
        slack: float = option(0.1, "lambda of the constraints: 0 maps every key exactly")

    def _write(self, work: Work) -> list[dict[str, Any]]:
        def solved(layer: int, keys: Tensor, residual: Tensor) -> Solution:
            prior = Prior(work.moments[layer])
            return emmet(keys, residual, prior, lam=work.config.slack, ridge=prior.floor)

        return spread(work, self.site, solved)
