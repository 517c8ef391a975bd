"""MEND: a hypernetwork turns the gradient of an edit into an update of six or eight matrices (Mitchell et al., 2022).

Both MLP matrices of the last three blocks, of an encoder-decoder of the last two of each stack. Every token that has a
gradient is one rank-one term. Differs from the published code where that is wrong: see `errata.learn.hypernetwork`; and
edits of one call are made in batches of at most the size that was trained with, each on top of those before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from errata.errors import BadModel
from errata.learn.hypernetwork import Site
from errata.learn.lessons import Lessons
from errata.learn.rewriting import Read, every_token, site
from errata.methods._base import option, register_method
from errata.methods._rewriting import RewritingConfig, RewritingMethod
from errata.methods._sites import top_blocks
from errata.models import EditableModel

ROLES = ("mlp_up", "mlp_down")


@register_method("mend", paper="arXiv:2110.11309", patch="weights", needs_training=True)
class Mend(RewritingMethod):
    """A trained network rewrites the MLPs of the last blocks from an edit's gradient."""

    @dataclass(frozen=True)
    class Config(RewritingConfig):
        step: float = option(0.5, "training: step size at the start; 1 changes what a matrix writes by its usual size")

    def sites(self, model: EditableModel, lessons: Lessons) -> tuple[list[Site], dict[str, Any]]:
        roles = [model.arch.matrices(block) for block in top_blocks(model)]
        found = [site(model, matrices[role]) for matrices in roles for role in ROLES if role in matrices]
        if not found:
            raise BadModel(f"{model.name} has no MLP matrix in its last blocks; use a method that edits states")
        return found, {}

    @property
    def read(self) -> Read:
        return every_token
