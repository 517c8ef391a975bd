"""RTE (Dagan et al., 2006 and later) of GLUE: does the second sentence follow from the first?"""

from __future__ import annotations

from errata.datasets._base import Example, Task, choice_of, register_dataset
from errata.datasets._glue import glue, pair
from errata.fields import Fields

LABELS = ("entailment", "not_entailment")


def read(record: Fields) -> Example:
    """The example of one record: 'sentence1', 'sentence2', and 'label', 0 or "entailment" where it follows."""
    label = choice_of(record.get("label"), LABELS)
    return pair(record, "Does sentence 2 follow from sentence 1?", ("yes", "no"), label)


@register_dataset("glue-rte")
def glue_rte() -> Task:
    """The 262 balanced pairs of glue_eval, or any file of GLUE's form."""
    return glue("rte", 262, "entailment or not, of pairs of sentences", read)
