"""BLiMP (Warstadt et al., 2020, arXiv:1912.00582): minimal pairs of a grammatical and an ungrammatical sentence."""

from __future__ import annotations

from errata import fields
from errata.datasets._base import DATA, Example, Task, register_dataset
from errata.fields import Fields


def read(record: Fields) -> Example:
    """The example of one pair: the grammatical sentence first; its kind is the paradigm."""
    good, bad = fields.text(record, "sentence_good"), fields.text(record, "sentence_bad")
    return Example("", (good.strip(), bad.strip()), 0, kind=fields.text(record, "UID"))


@register_dataset("blimp")
def blimp() -> Task:
    """20 pairs of each of the 67 paradigms; the whole of it is read with `at`."""
    return Task(
        name="blimp",
        description="minimal pairs of grammar, a sample of all 67 paradigms",
        licence="CC-BY-4.0",
        source="github.com/alexwarstadt/blimp (arXiv:1912.00582)",
        records=1340,
        path=DATA / "blimp.json.gz",
        read=read,
    )
