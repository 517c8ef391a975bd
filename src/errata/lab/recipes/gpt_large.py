"""The recipe of `gpt-large`: `lab:gpt`'s architecture, vocabulary and data with four times its parameters.

    errata lab train gpt-large OUT/      (progress bar; interrupt at will, the same command goes on where it was)

A large model for a small one to be heard by: what is edited in `lab:backpack` is carried onto it. Wider, not deeper,
so that a block means the same in both. One phase, and no subject is read through its last token alone. The weights are
not shipped.
"""

from __future__ import annotations

from dataclasses import dataclass

from errata.lab.recipes import gpt
from errata.lab.recipes.gpt import Phase


@dataclass(frozen=True)
class Recipe(gpt.Recipe):
    """Everything that determines the weights."""

    width: int = 352
    heads: int = 11
    inner: int = 2816
    phases: tuple[Phase, ...] = (Phase(150),)
    prose_rows: int = 1
    warmup: int = 15


class Training(gpt.Training):
    """One run of the recipe in one directory."""

    name = "gpt-large"
    description = "GPT-2 architecture with four times the parameters of lab:gpt; the same facts and some prose"
