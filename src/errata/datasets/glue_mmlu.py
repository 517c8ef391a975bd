"""MMLU (Hendrycks et al., 2021, arXiv:2009.03300): exam questions of many subjects with four answers each."""

from __future__ import annotations

from errata import fields
from errata.datasets._base import Example, Task, choice_of, register_dataset
from errata.datasets._glue import glue
from errata.fields import Fields


def read(record: Fields) -> Example:
    """The example of one record: 'question', 'choices', 'answer' as an index, and 'subject', which is its kind."""
    choices = tuple(choice.strip() for choice in fields.texts(record, "choices"))
    question = fields.text(record, "question").strip()
    gold = choice_of(record.get("answer"), tuple(str(index) for index in range(len(choices))))
    return Example(f"Question: {question}\nAnswer:", choices, gold, kind=fields.text(record, "subject"))


@register_dataset("glue-mmlu")
def glue_mmlu() -> Task:
    """The 1,516 questions of glue_eval, right answers balanced over the four places."""
    return glue("mmlu", 1516, "multiple-choice exam questions", read)
