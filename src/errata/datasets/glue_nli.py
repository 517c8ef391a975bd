"""The larger entailment sample of glue_eval: RTE's training pairs (Dagan et al., 2006 and later), labels as text."""

from __future__ import annotations

from errata.datasets._base import Task, register_dataset
from errata.datasets._glue import glue
from errata.datasets.glue_rte import read


@register_dataset("glue-nli")
def glue_nli() -> Task:
    """The 2,489 pairs of glue_eval's nli."""
    return glue("nli", 2489, "entailment or not, of pairs of sentences, the larger sample", read)
