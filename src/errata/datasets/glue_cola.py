"""CoLA (Warstadt et al., 2019) of GLUE: is a sentence acceptable English?"""

from __future__ import annotations

from errata.datasets._base import Example, Task, register_dataset
from errata.datasets._glue import glue, sentence
from errata.fields import Fields


def read(record: Fields) -> Example:
    """The example of one record: 'sentence', and 'label' 1 for acceptable."""
    return sentence(record, "Sentence", "Question: Is the sentence acceptable English?\nAnswer:", ("no", "yes"))


@register_dataset("glue-cola")
def glue_cola() -> Task:
    """The 644 balanced sentences of glue_eval, or any file of GLUE's form."""
    return glue("cola", 644, "linguistic acceptability of sentences", read)
