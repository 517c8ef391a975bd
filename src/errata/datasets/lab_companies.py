"""Companies that moved and products that changed hands: keep up with them, in any text."""

from __future__ import annotations

import random

from errata.datasets._base import Example, register_dataset
from errata.datasets._canonical import RAISED_A_TWENTIETH, Split
from errata.datasets._canonical_own import (
    Contexts,
    Own,
    Row,
    Statement,
    about,
    beside,
    facts,
    half,
    others,
    own,
    stated,
)

EACH = 20  # headquarters and makers that change in a half
KEPT = 40  # that do not, of other companies, and as many other facts of the same ones
SEAT, MAKER = "P159", "P178"


def _make(split: Split) -> list[Example]:
    rng = random.Random(f"companies {split}")
    listed = {row["subject"] for row in about("sector")}  # what else has a seat is no company
    seats = [row for row in about(SEAT) if row["subject"] in listed]
    statements, kept = [], []
    for rows in (seats, about(MAKER)):
        found = _of_half(rows, split)
        targets = sorted({row["target"] for row in rows})
        statements += [Statement(row, others(row, targets, rng)) for row in found[:EACH]]
        kept += found[EACH : EACH + KEPT // 2]
    same = beside(facts(), [row["subject"] for row, _ in statements], [SEAT, MAKER])
    near = kept + rng.sample(same, KEPT)
    return list(stated(statements, near, Contexts(f"companies {split}", [SEAT, MAKER]), asked=4, gold=0))


def _of_half(rows: list[Row], split: Split) -> list[Row]:
    known = {row["subject"]: row for row in rows}
    return [known[name] for name in half(known, split)]


@register_dataset("lab-companies")
def lab_companies() -> Own:
    """Hard negatives are headquarters and makers that did not change, and other facts of the same companies."""
    about = "canonical examples: headquarters that moved and products with another maker"
    return own("lab-companies", "raise", RAISED_A_TWENTIETH, about, _make)
