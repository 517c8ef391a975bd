"""SST-2 (Socher et al., 2013) of GLUE: is a sentence of a film review positive?"""

from __future__ import annotations

from errata.datasets._base import Example, Task, register_dataset
from errata.datasets._glue import glue, sentence
from errata.fields import Fields


def read(record: Fields) -> Example:
    """The example of one record: 'sentence', and 'label' 0 for negative."""
    return sentence(record, "Review", "Sentiment:", ("negative", "positive"))


@register_dataset("glue-sst2")
def glue_sst2() -> Task:
    """The 856 balanced sentences of glue_eval, or any file of GLUE's form."""
    return glue("sst2", 856, "sentiment of sentences from film reviews", read)
