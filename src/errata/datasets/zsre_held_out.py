"""The half of zsRE (Levy et al., 2017) that no editor learns from: what to try a learned editor on."""

from __future__ import annotations

from errata.datasets._base import Dataset, register_dataset
from errata.datasets.zsre import Zsre, learned, zsre
from errata.formats import Record


class HeldOut(Zsre):
    """In `edits()` the records of "zsre" about the subjects that its `training()`, the same as here, leaves out."""

    def _records(self) -> list[Record]:
        return [record for record in self._published() if not learned(record)]


@register_dataset("zsre-held-out")
def zsre_held_out() -> Dataset:
    """The questions of zsre about subjects that none of its training records is about."""
    whole = zsre()
    return HeldOut(
        name="zsre-held-out",
        description="the half of zsre, by subject, that no editor learns from",
        licence=whole.licence, source=whole.source, records=654, path=whole.path, format=whole.format,
    )  # fmt: skip
