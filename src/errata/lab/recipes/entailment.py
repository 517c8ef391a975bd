"""The recipe of `entailment`: `lab:bert` taught to say whether a sentence follows from the one before it.

    errata lab train entailment OUT/     (progress bar; interrupt at will, the same command goes on where it was)

The task is Errata's own (`errata.lab.labels`). The weights are not shipped.
"""

from __future__ import annotations

from dataclasses import dataclass

from errata.lab.recipes.labelling import Labelling, Settings


@dataclass(frozen=True)
class Recipe(Settings):
    """Everything that determines the weights, beside those it starts from."""

    steps: int = 160
    facts: int = 64
    decay_from: float = 0.625


class Training(Labelling):
    """One run of the recipe in one directory."""

    name = "entailment"
