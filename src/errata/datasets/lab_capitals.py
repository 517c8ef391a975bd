"""Capitals that moved: say the new one anywhere in a text, from one statement of it."""

from __future__ import annotations

import random

from errata.datasets._base import Example, register_dataset
from errata.datasets._canonical import RAISED_A_FIFTH, Split
from errata.datasets._canonical_own import Contexts, Own, Statement, about, beside, facts, half, others, own, stated

MOVED = 40  # capitals of a half
KEPT = 40  # capitals of other countries, and as many other facts of the same ones
COUNTRY = ("capital", "continent", "currency", "demonym", "internet-domain", "language")


def _make(split: Split) -> list[Example]:
    rng = random.Random(f"capitals {split}")
    capitals = {row["subject"]: row for row in about("capital")}
    names = half(capitals, split)
    moved, kept = names[:MOVED], names[MOVED : MOVED + KEPT]
    cities = sorted({row["target"] for row in about("P190", "P937")} - {row["target"] for row in capitals.values()})
    statements = [Statement(capitals[name], others(capitals[name], cities, rng)) for name in moved]
    same = beside(facts(), moved, ["capital"])
    near = [capitals[name] for name in kept] + rng.sample(same, KEPT)
    return list(stated(statements, near, Contexts(f"capitals {split}", COUNTRY), asked=4, gold=0))


@register_dataset("lab-capitals")
def lab_capitals() -> Own:
    """Hard negatives are capitals of other countries, and other facts of the same ones."""
    return own("lab-capitals", "raise", RAISED_A_FIFTH, "canonical examples: capitals that moved", _make)
