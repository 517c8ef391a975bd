"""The tasks by which studies of sequential editing watch a model decay: single sentences, pairs, multiple choice.

Knows how a record of each shape is asked; the wording is Errata's, the records are the user's own: their samples
state no licence and are never in the package.
"""

from __future__ import annotations

from collections.abc import Callable

from errata import fields
from errata.datasets._base import Example, Task, choice_of
from errata.fields import Fields


def glue(name: str, records: int, description: str, read: Callable[[Fields], Example]) -> Task:
    """The task `glue-<name>`, read from the user's own copy."""
    return Task(
        name=f"glue-{name}",
        description=description,
        licence="none stated",
        source="github.com/jianghoucheng/AlphaEdit, glue_eval/dataset/ (pickles there: convert them to JSON Lines)",
        records=records,
        path=None,
        read=read,
    )


def sentence(record: Fields, what: str, question: str, choices: tuple[str, ...]) -> Example:
    """A question about the field 'sentence', its label an index into the choices or one of them."""
    prompt = f"{what}: {fields.text(record, 'sentence').strip()}\n{question}"
    return Example(prompt, choices, choice_of(record.get("label"), choices))


def pair(record: Fields, question: str, choices: tuple[str, ...], label: int) -> Example:
    """A question about the fields 'sentence1' and 'sentence2'; `label` is the index of the right choice."""
    first, second = (fields.text(record, name).strip() for name in ("sentence1", "sentence2"))
    return Example(f"Sentence 1: {first}\nSentence 2: {second}\nQuestion: {question}\nAnswer:", choices, label)
