"""wiki_recent of KnowEdit: facts new to Wikidata after July 2022, from RippleEdits (Cohen et al., 2023)."""

from __future__ import annotations

from errata.datasets._base import Dataset, register_dataset
from errata.datasets._knowedit import knowedit


@register_dataset("wiki-recent")
def wiki_recent() -> Dataset:
    """True facts to insert, with probes of other relations of the subject and of forgetting."""
    return knowedit("wiki-recent", 570, "recent facts to insert, with locality and portability")
