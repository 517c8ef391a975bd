"""Source and licence of the data sets of KnowEdit (Zhang et al., 2024, arXiv:2401.01286)."""

from __future__ import annotations

from errata.datasets._base import DATA, Dataset


def knowedit(
    name: str, records: int, description: str, format: str = "easyedit", kind: type[Dataset] = Dataset
) -> Dataset:
    """The data set of `data/<name>.json.gz`."""
    return kind(
        name=name,
        description=description,
        licence="MIT",
        source="KnowEdit, github.com/zjunlp/EasyEdit (arXiv:2401.01286)",
        records=records,
        path=DATA / f"{name}.json.gz",
        format=format,
    )
