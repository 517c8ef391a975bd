"""FEVER (Thorne et al., 2018, arXiv:1803.05355): claims that Wikipedia supports, refutes or does not decide."""

from __future__ import annotations

from errata import fields
from errata.datasets._base import DATA, Example, Task, choice_of, register_dataset
from errata.fields import Fields

LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")


def read(record: Fields) -> Example:
    """The example of one claim: its prompt is the claim itself, its choices are FEVER's labels."""
    claim = fields.text(record, "claim").strip()
    return Example(claim, LABELS, choice_of(record.get("label"), LABELS), id=fields.identifier(record, "id"))


@register_dataset("fever")
def fever() -> Task:
    """100 claims of each label, drawn from paper_dev; the whole file is read with `at`."""
    return Task(
        name="fever",
        description="claims to verify, a balanced sample",
        licence="CC-BY-SA-3.0",
        source="FEVER, fever.ai (arXiv:1803.05355)",
        records=300,
        path=DATA / "fever.json.gz",
        read=read,
    )
