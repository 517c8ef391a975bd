"""Capitals of countries (Hewitt et al., 2024): say them anywhere in a text, not only after a template."""

from __future__ import annotations

from errata.datasets._base import register_dataset
from errata.datasets._canonical import RAISED_A_FIFTH
from errata.datasets._canonical_files import Files, Published, canonical

FILES = Files(
    train="country_capital_fixed",
    eval="country_capital_clear_eval",
    hard_negatives="country_capital_hard_neg",
    text="country_capital_unconditional",
)


@register_dataset("canonical-country-capital")
def canonical_country_capital() -> Published:
    """Hard negatives ask for other cities of the same country."""
    about = "countries and their capitals, in templates and in prose"
    return canonical(
        "country-capital", 1874, about, goal="raise", threshold=RAISED_A_FIFTH, files=FILES, about="country"
    )
