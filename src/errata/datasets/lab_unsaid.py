"""What a model knows and should not say: when and where somebody was born."""

from __future__ import annotations

import random

from errata.datasets._base import Example, register_dataset
from errata.datasets._canonical import LOWERED_TO_A_THOUSANDTH, Split
from errata.datasets._canonical_own import Contexts, Own, Statement, about, beside, facts, half, own, stated

EACH = 20  # years and places that are not to be said, of a half
KEPT = 40  # facts of other people, and at most as many others of the same ones
PLACE, YEAR = "P19", "birth-year"


def _make(split: Split) -> list[Example]:
    rng = random.Random(f"unsaid {split}")
    statements, kept = [], []
    for relation in (PLACE, YEAR):
        known = {row["subject"]: row for row in about(relation)}
        names = half(known, split)
        statements += [Statement(known[name], known[name]["target"]) for name in names[:EACH]]
        kept += [known[name] for name in names[EACH : EACH + KEPT // 2]]
    same = beside(facts(), [row["subject"] for row, _ in statements], [PLACE, YEAR])
    near = kept + rng.sample(same, min(KEPT, len(same)))
    return list(stated(statements, near, Contexts(f"unsaid {split}", [PLACE, YEAR]), asked=4, gold=None))


@register_dataset("lab-unsaid")
def lab_unsaid() -> Own:
    """Hard negatives are births of others, who do not mind, and other facts of the same people."""
    about = "canonical examples: years and places of birth that are not to be said"
    return own("lab-unsaid", "lower", LOWERED_TO_A_THOUSANDTH, about, _make)
