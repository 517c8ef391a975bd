"""Conditional patches: low-rank changes of one matrix, each in force only along the answers to its edit's question.

    scope    the user's message decides which edit answers, whatever stands before it (`asked`)
    effect   B A x is added to what the matrix makes of x, from the state that predicts the answer's first token to the
             one that predicts its end

Knows entries, their factors and files. How factors were found is no concern here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models.arch import Arch, Linear, shape
from errata.patches.asked import AskedPatch
from errata.patches.bound import BoundOptions
from errata.patches.deltas import LowRank
from errata.patches.places import Place, Row
from errata.patches.turns import Turn
from errata.scope import Form

if TYPE_CHECKING:
    from errata.models import EditableModel


@dataclass(frozen=True, eq=False)
class Conditioned:
    """One edit's question and the change that makes the model answer it.

    Attributes:
        edit: id of the edit.
        question: the user's message that asks for it.
        earlier: the user's message before that one, if the question is only understood after it.
        change: of the matrix.
    """

    edit: str
    question: str
    earlier: str | None
    change: LowRank
    form: Form = "chat"


class ConditionalPatch(AskedPatch[Conditioned]):
    """Changes a matrix while the model answers questions of a conversation.

    Attributes:
        role: which matrix of the block is changed.
    """

    kind: ClassVar[str] = "conditional"
    where: ClassVar[tuple[str, ...]] = ("layer", "role")

    def __init__(
        self, layer: int, entries: Sequence[Conditioned], *, role: str, **options: Unpack[BoundOptions]
    ) -> None:
        super().__init__(layer, entries, **options)
        self.role = role

    # -- effect --------------------------------------------------------------------------------------------------

    def module(self, arch: Arch) -> str:
        return arch.matrix(self.layer, self.role)

    def places(self, row: Row, turn: Turn, entry: Conditioned, score: float) -> list[Place]:
        first = turn.start - 1
        return [row.place(at, entry, at - first, score, self) for at in range(max(first, row.start), turn.end)]

    def states(self, places: Sequence[Place], own: Tensor, read: Tensor | None) -> Tensor:
        assert read is not None  # a linear module is called with what it reads
        found = own.float()
        for change in dict.fromkeys(place.entry.change for place in places):
            at = [index for index, place in enumerate(places) if place.entry.change is change]
            found[at] += read[at].float() @ change.A.to(read.device).t() @ change.B.to(read.device).t()
        return found

    def fit_to(self, model: EditableModel) -> None:
        matrix = model.model.get_submodule(self.module(model.arch))
        assert isinstance(matrix, Linear)
        if any(not one.change.fits(torch.Size(shape(matrix))) for one in self.entries):
            raise WrongModel(f"the patch changes a matrix of another shape than this model's, {shape(matrix)}")

    # -- files ---------------------------------------------------------------------------------------------------

    def entry_header(self, entry: Conditioned) -> dict[str, Any]:
        return {"rank": len(entry.change.A)}

    def entry_tensors(self) -> dict[str, Tensor]:
        changes = [entry.change for entry in self.entries]
        if not changes:
            return {"A": torch.empty(0, 0), "B": torch.empty(0, 0)}
        return {"A": torch.cat([one.A for one in changes]), "B": torch.cat([one.B for one in changes], dim=1)}

    @classmethod
    def entries_of(cls, told: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> Sequence[Conditioned]:
        sizes, a, b = [one["rank"] for one in told], tensors["A"], tensors["B"]
        if a.dtype != torch.float32 or b.dtype != torch.float32 or not sum(sizes) == len(a) == b.shape[1]:
            raise BadPatch(f"a conditional patch needs factors of rank {sum(sizes)} in all; the file is damaged")
        if not sizes:
            return []
        parts = zip(told, b.split(sizes, dim=1), a.split(sizes), strict=True)
        return [Conditioned(one["edit"], one["question"], one["earlier"], LowRank(*both)) for one, *both in parts]
