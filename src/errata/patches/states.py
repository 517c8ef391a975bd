"""Patches that replace states of one block: what codebooks and adaptors have in common.

Knows a block, its hook (`sites`) and who is to be told of a replacement. Which states are recognised, and what takes
their place, is each kind's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from errata.errors import WrongModel
from errata.patches import sites
from errata.patches.records import RecordedPatch
from errata.patches.search import Hits

if TYPE_CHECKING:
    from errata.models import EditableModel


@dataclass(frozen=True)
class Firing:
    """A state that was replaced, or a prompt that was answered in place of the model.

    Attributes:
        row, position: where in the batch, padding counted; with a KV cache the position in the whole sequence if the
            model was given an attention mask, else in the chunk.
        edit: the edit whose own query is nearest among those the key answers for; of an adaptor its first.
        distance: of the state from the key, L2. It is at most `radius`. Of a gate: minus its logit, within 0. Of a
            router: of the prompt's embedding from the edit's.
        layer: index of the block; 0 for a router, which takes over the whole model, at the prompt's last token.
        score: by how much a question is in the edit's scope; None where a distance decides.
    """

    row: int
    position: int
    edit: str
    distance: float
    radius: float
    layer: int
    score: float | None = None


class StatePatch(RecordedPatch):
    """Replaces the states of block `layer` that it recognises.

    A causal stack is looked up at every position. An encoder is at one position a row: the last real token of an
    encoder-decoder's prompt, the first ([CLS]) for a classifier. Padding is never replaced. The hook looks up and
    replaces them, in train mode too; it never learns.

    Attributes:
        layer: index of the block whose output is looked up.
    """

    def __init__(
        self, layer: int, *, method: str, config: Mapping[str, Any], edits: Sequence[str], order: int | None = None
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.layer = layer

    @property
    @abstractmethod
    def width(self) -> int:
        """Size d of the states, 0 if there is nothing to recognise."""

    @abstractmethod
    def prepare(self, device: torch.device) -> None:
        """Bring onto a device what is needed there."""

    @abstractmethod
    def hits(self, states: Tensor) -> Hits | None:
        """Which of the states (N, d) are recognised, and by what; None if there are none."""

    @abstractmethod
    def replacements(self, states: Tensor, hits: Hits) -> Tensor:
        """(n, d): what takes the place of the recognised states (n, d)."""

    @abstractmethod
    def firing(self, state: Tensor, row: int, distance: float, at: tuple[int, int]) -> Firing:
        """What to tell of a `state` (d,) that `hits` gave this row and distance; `at` is its row and position."""

    def _attach(self, model: EditableModel) -> None:
        if not 0 <= self.layer < len(model.arch.blocks):
            raise WrongModel(
                f"the {self.kind} is for block {self.layer} of a model; this one has {len(model.arch.blocks)} blocks"
            )
        if not self.width:
            return
        if self.width != model.width:
            raise WrongModel(f"the {self.kind} holds states of width {self.width}; this model's have {model.width}")
        sites.join(model, self)

    def _detach(self, model: EditableModel) -> None:
        if self.width:
            sites.leave(model, self)
