"""MRPC (Dolan and Brockett, 2005) of GLUE: do two sentences say the same?"""

from __future__ import annotations

from errata.datasets._base import Example, Task, choice_of, register_dataset
from errata.datasets._glue import glue, pair
from errata.fields import Fields

CHOICES = ("no", "yes")


def read(record: Fields) -> Example:
    """The example of one record: 'sentence1', 'sentence2', and 'label' 1 for the same meaning."""
    label = choice_of(record.get("label"), CHOICES)
    return pair(record, "Do both sentences mean the same?", CHOICES, label)


@register_dataset("glue-mrpc")
def glue_mrpc() -> Task:
    """The 258 balanced pairs of glue_eval, or any file of GLUE's form."""
    return glue("mrpc", 258, "paraphrase or not, of pairs of sentences", read)
