"""Prompts whose answer GPT-2 XL knows (Meng et al., 2022, arXiv:2202.05262): what causal tracing is run on."""

from __future__ import annotations

from errata import fields
from errata.datasets._base import DATA, Example, Task, register_dataset
from errata.fields import Fields


def read(record: Fields) -> Example:
    """The example of one record: its one choice is the attribute, its kind the Wikidata relation."""
    return Example(
        prompt=fields.text(record, "prompt").strip(),
        choices=(fields.text(record, "attribute").strip(),),
        gold=0,
        subject=fields.text(record, "subject"),
        kind=fields.text(record, "relation_id"),
        id=fields.identifier(record, "known_id"),
    )


@register_dataset("known-1000")
def known_1000() -> Task:
    """Every prompt names its subject as written."""
    return Task(
        name="known-1000",
        description="prompts with subject and attribute, for causal tracing",
        licence="MIT",
        source="github.com/kmeng01/rome (arXiv:2202.05262)",
        records=1209,
        path=DATA / "known-1000.json.gz",
        read=read,
    )
