"""Patches that change states of a model where a question is asked that one of their edits is bound to.

    effect   a module of one block, the states of its output that an edit changes, and what they become

Knows entries and models. Which edit is asked for is in `bound`; how a running model is followed is in `listening`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Unpack

from torch import Tensor

from errata.errors import WrongModel
from errata.models.arch import Arch
from errata.patches.bound import BoundOptions, BoundPatch, E
from errata.patches.places import Place, Row
from errata.patches.turns import Turn

if TYPE_CHECKING:
    from errata.models import EditableModel


class AskedPatch(BoundPatch[E]):
    """Changes states along the answers to its edits' questions.

    Attributes:
        layer: index of the block that is changed.
    """

    where: ClassVar[tuple[str, ...]] = ("layer",)

    def __init__(self, layer: int, entries: Sequence[E], **options: Unpack[BoundOptions]) -> None:
        super().__init__(entries, **options)
        self.layer = layer

    @abstractmethod
    def module(self, arch: Arch) -> str:
        """Return the path of the module whose output is changed."""

    @abstractmethod
    def places(self, row: Row, turn: Turn, entry: E, score: float) -> list[Place]:
        """Return the states to be changed, among those read now, of an answer to an entry's question."""

    def places_in_text(self, model: EditableModel, rows: Sequence[Row], marks: Tensor, hidden: Tensor) -> list[Place]:
        """Return those of running text, as `answers_in_text` does; by default there are none."""
        return []

    @abstractmethod
    def states(self, places: Sequence[Place], own: Tensor, read: Tensor | None) -> Tensor:
        """Return (n, d), what stands at the places.

        Args:
            own: (n, d), what the module gave there.
            read: (n, d_in), what it read there; None of a module that is called by keyword.
        """

    @abstractmethod
    def fit_to(self, model: EditableModel) -> None:
        """Refuse a model in which the entries cannot be in force. Raises: WrongModel."""

    def _attach(self, model: EditableModel) -> None:
        from errata.patches import listening

        if model.task != "causal" or (model.chat is None and any(entry.form == "chat" for entry in self.entries)):
            raise WrongModel(f"{model.name} has no chat template, and this patch answers in conversations")
        if not 0 <= self.layer < len(model.arch.blocks):
            raise WrongModel(f"the patch is for block {self.layer}; this model has {len(model.arch.blocks)} blocks")
        self.fit_to(model)
        self.questions(model)  # the work is done here rather than in the first answer
        listening.join(model, self)

    def _detach(self, model: EditableModel) -> None:
        from errata.patches import listening

        listening.leave(model, self)
