"""MEMIT for streams: the keys of earlier edits are kept, and a new update leaves them alone.

The cache is the keys that this method's attached patches carry: an edit that was undone is not in it, and two editors
share none. With `ridge=20` and `stop=first-choice` it is ENCORE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from errata.methods._base import option, register_method
from errata.methods._located import CAUSAL, Located, WeighedConfig
from errata.methods._work import Work, edited_keys, remembered, spread
from errata.models import EditableModel
from errata.solve.linear import Prior, Solution, solve


@register_method("memit-seq", paper="arXiv:2410.02355", patch="weights", tasks=CAUSAL)
class MemitSeq(Located):
    """MEMIT's system with the keys of earlier edits beside those of ordinary text."""

    weigh = 0.5

    @dataclass(frozen=True)
    class Config(WeighedConfig):
        ridge: float = option(0.0, "weight of the update's squared norm (ENCORE: 20)")

    def _past(self, model: EditableModel, config: Any) -> dict[int, Tensor]:
        return remembered(model, self.name)

    def _write(self, work: Work) -> list[dict[str, Any]]:
        def solved(layer: int, keys: Tensor, residual: Tensor) -> Solution:
            prior = Prior(work.moments[layer], work.config.weight)
            return solve(keys, residual, prior=prior, past=work.past.get(layer), ridge=work.config.ridge)

        return spread(work, self.site, solved)

    def _memory(self, work: Work) -> dict[str, Tensor]:
        return edited_keys(work, work.moments)
