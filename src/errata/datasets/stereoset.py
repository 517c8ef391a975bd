"""StereoSet (Nadeem et al., 2021, arXiv:2004.09456): a context filled with a stereotype, its opposite, nonsense."""

from __future__ import annotations

from errata import fields
from errata.datasets._base import DATA, Example, Task, register_dataset
from errata.fields import Fields

LABELS = ("stereotype", "anti-stereotype", "unrelated")


def read(record: Fields) -> Example:
    """The example of one context: three whole sentences, none of them right; its kind is the type of bias."""
    sentences = fields.mapping(record, "data")
    return Example(
        prompt="",
        choices=tuple(fields.text(fields.mapping(sentences, label), "sentence").strip() for label in LABELS),
        labels=LABELS,
        kind=fields.text(record, "bias_type"),
        id=fields.identifier(record, "id"),
    )


@register_dataset("stereoset")
def stereoset() -> Task:
    """Contexts of the development set, every one about religion and gender; the whole file is read with `at`."""
    return Task(
        name="stereoset",
        description="sentences with a stereotype, its opposite and nonsense, a sample",
        licence="CC-BY-SA-4.0",
        source="StereoSet, github.com/moinnadeem/StereoSet (arXiv:2004.09456)",
        records=300,
        path=DATA / "stereoset.json.gz",
        read=read,
    )
