"""WikiBio of KnowEdit: corrections of made-up biographies, from SelfCheckGPT (Manakul et al., 2023)."""

from __future__ import annotations

from errata.datasets._base import Dataset, register_dataset
from errata.datasets._knowedit import knowedit


@register_dataset("wikibio")
def wikibio() -> Dataset:
    """The start of a biography as prompt, its next true sentence as target."""
    return knowedit("wikibio", 306, "the next true sentence of a biography", format="wikibio")
