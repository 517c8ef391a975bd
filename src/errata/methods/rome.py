"""ROME: rank-one model editing (Meng et al., 2022). One MLP matrix is made to map one subject's key to a new value.

The averaged key is used everywhere, as r-ROME and C-ROME have it: as published, the bare prompt's key in a denominator
that was computed for the averaged one can be nearly orthogonal to it and destroy the model (`consistent=False`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from errata.methods._base import option, register_method
from errata.methods._located import CAUSAL, Located, LocatedConfig
from errata.methods._work import Work
from errata.solve.keys import read_keys
from errata.solve.linear import Prior, rank_one


@register_method("rome", paper="arXiv:2202.05262", patch="weights", tasks=CAUSAL)
class Rome(Located):
    """One update of rank one per edit, at one block; edits of a call are written one after another."""

    table = "rome"
    site = "mlp"
    single = True
    usual = "0.25"
    own: ClassVar[Mapping[str, Any]] = {"clamp": 16.0, "lr": 0.5}

    @dataclass(frozen=True)
    class Config(LocatedConfig):
        consistent: bool = option(True, "use the averaged key in the denominator too (r-ROME); false: as published")

    def _write(self, work: Work) -> list[dict[str, Any]]:
        (layer,), (targets,) = work.layers, work.targets
        told = []
        for place in range(len(work.facts)):
            fact = work.facts.only([place])
            key = read_keys(work.model, fact, layer)[:, 0]
            bare = None if work.config.consistent else read_keys(work.model, fact.bare, layer)[:, 0]
            prior = Prior(work.moments[layer])
            solution = rank_one(key, targets.deltas[:, place].to(key), prior, ridge=prior.floor, read=bare)
            work.update(layer, solution)
            size = float(solution.B.norm() * solution.A.norm())
            told.append({"alignment": abs(solution.alignment), "update": size})
        return told
