"""The recipe of `domain`: `lab:bert` taught to say which of seven domains a sentence is about.

    errata lab train domain OUT/         (progress bar; interrupt at will, the same command goes on where it was)

The task is Errata's own (`errata.lab.labels`). The weights are not shipped.
"""

from __future__ import annotations

from dataclasses import dataclass

from errata.lab.recipes.labelling import Labelling, Settings


@dataclass(frozen=True)
class Recipe(Settings):
    """Everything that determines the weights, beside those it starts from."""


class Training(Labelling):
    """One run of the recipe in one directory."""

    name = "domain"
