"""zsRE: question answering by relation extraction (Levy et al., 2017), as edited in KnowEdit's test set."""

from __future__ import annotations

from errata.datasets._base import Dataset, register_dataset
from errata.datasets._knowedit import knowedit


@register_dataset("zsre")
def zsre() -> Dataset:
    """Questions with a rephrasing, and probes of other relations of the same subject."""
    return knowedit("zsre", 1286, "questions with a new answer, a rephrasing and portability")
