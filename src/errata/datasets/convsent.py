"""ConvSent (Mitchell et al., 2022, arXiv:2206.06520) of KnowEdit: replies about a topic, of either sentiment."""

from __future__ import annotations

from errata import fields
from errata.datasets._base import DATA, Example, Task, register_dataset
from errata.fields import Fields


def read(record: Fields) -> Example:
    """The example of one topic: its choices are BlenderBot's replies, its labels their sentiments.

    The question is Errata's; the records hold none. No reply is right before an edit says which sentiment is.
    """
    topic = fields.text(record, "ent").strip()
    replies = [(fields.texts(record, key), label) for key, label in (("pos", "positive"), ("neg", "negative"))]
    labelled = [(text.strip(), label) for texts, label in replies for text in texts if text.strip()]
    return Example(
        prompt=f"What do you think of {topic}?",
        choices=tuple(text for text, _ in labelled),
        labels=tuple(label for _, label in labelled),
        subject=topic,
    )


@register_dataset("convsent")
def convsent() -> Task:
    """KnowEdit's 800 test topics; the 799 of its validation file are read with `at`."""
    return Task(
        name="convsent",
        description="positive and negative replies about topics",
        licence="MIT",
        source="KnowEdit, github.com/zjunlp/EasyEdit (arXiv:2401.01286)",
        records=800,
        path=DATA / "convsent.json.gz",
        read=read,
    )
