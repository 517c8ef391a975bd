"""The second sample of SST-2 (Socher et al., 2013) in glue_eval: its whole validation set, labels as text."""

from __future__ import annotations

from errata.datasets._base import Task, register_dataset
from errata.datasets._glue import glue
from errata.datasets.glue_sst2 import read


@register_dataset("glue-sentiment")
def glue_sentiment() -> Task:
    """The 872 sentences of glue_eval's sentiment_analysis."""
    return glue("sentiment", 872, "sentiment of sentences from film reviews, unbalanced", read)
