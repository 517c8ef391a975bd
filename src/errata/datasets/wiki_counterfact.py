"""wiki_counterfact of KnowEdit: new answers for popular subjects, from RippleEdits (Cohen et al., 2023)."""

from __future__ import annotations

from errata.datasets._base import Dataset, register_dataset
from errata.datasets._knowedit import knowedit


@register_dataset("wiki-counterfact")
def wiki_counterfact() -> Dataset:
    """Facts of well-known subjects to change, with probes of what should and should not follow."""
    return knowedit(
        "wiki-counterfact", 864, "counterfactual facts of popular subjects, with locality and portability"
    )
