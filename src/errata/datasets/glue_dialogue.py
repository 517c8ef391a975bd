"""MuTual (Cui et al., 2020, arXiv:2004.04494): which of four replies goes on with a dialogue?"""

from __future__ import annotations

from errata import fields
from errata.datasets._base import Example, Task, choice_of, register_dataset
from errata.datasets._glue import glue
from errata.fields import Fields

LETTERS = ("A", "B", "C", "D")


def read(record: Fields) -> Example:
    """The example of one record: 'article' is the dialogue, 'options' the replies, 'answers' a letter."""
    options = tuple(option.strip() for option in fields.texts(record, "options"))
    gold = choice_of(record.get("answers"), LETTERS[: len(options)])
    return Example(fields.text(record, "article").strip(), options, gold, id=fields.identifier(record, "id"))


@register_dataset("glue-dialogue")
def glue_dialogue() -> Task:
    """The 886 dialogues of glue_eval."""
    return glue("dialogue", 886, "dialogues with four replies to choose from", read)
