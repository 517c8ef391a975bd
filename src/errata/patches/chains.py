"""Asking a small model what its edits change: in a pass for each state of it, or in one where edits are of senses.

Edits come in stages, each on top of those before. Knows small models, their patches and a text to read; who hears what
is said, and where it is added, is no concern here.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from errata.models import Batch
from errata.models.backpack.modeling import BackpackOutput, weighted
from errata.models.backpack.words import backpack_of
from errata.models.twin import twin
from errata.patches.base import Patch
from errata.patches.beside import Reading, Text
from errata.patches.senses import Additions, SensePatch
from errata.patches.weights import WeightPatch

if TYPE_CHECKING:
    from errata.models import EditableModel

Change = tuple[Tensor, Tensor]
"""Columns of which something is to be said, (B, K) bool with n set, and what is added to the logits there, (n, ids)."""

Stage = tuple[float, Sequence[Patch]]
"""How strongly patches of a small model are heard, and these patches, on top of those of the stages before."""


class Chain(Protocol):
    """A small model under one stage of patches after another.

    Added is the sum over stages of beta * (log p - log p before the stage): what is added of a patch is what it changes
    on top of the earlier ones, as if the small model were edited step by step.
    """

    def change(self, reading: Reading, shared: int) -> Change | None:
        """What is added of the first `shared` ids, in float32; None: nothing."""
        ...


def chain(small: EditableModel, stages: Sequence[Stage]) -> Chain:
    """The small model is left as it is, and so are the patches.

    Raises: WrongModel (a patch does not fit the small model).
    """
    betas, added = [beta for beta, _ in stages], [list(patches) for _, patches in stages]
    reached = list(itertools.accumulate(added))
    senses = [[patch for patch in patches if isinstance(patch, SensePatch)] for patches in reached]
    if senses != reached:
        return TwinChain(small, betas, [_edited(small, patches) for patches in reached])
    for patch in senses[-1]:
        patch.require_fit(small)
    return SenseChain(small, betas, senses)


def _edited(small: EditableModel, patches: Sequence[Patch]) -> EditableModel:
    """A twin of the small model under copies of these patches, in this order whatever theirs was."""
    written = {name for patch in patches if isinstance(patch, WeightPatch) for name in patch.deltas}
    edited = twin(small, written)
    for place, patch in enumerate(patches):
        own = type(patch).from_parts(patch.header(), patch.tensors())
        own.order = place
        own.attach(edited)
    return edited


class TwinChain:
    """A pass for the small model as it was, and one for an edited twin of each stage."""

    def __init__(self, small: EditableModel, betas: Sequence[float], edited: Sequence[EditableModel]) -> None:
        self.small, self.betas, self.edited = small, betas, edited

    def change(self, reading: Reading, shared: int) -> Change:
        said = _readable(self.small, reading.new)
        chances = [self._log_chances(model, reading, shared)[said] for model in (self.small, *self.edited)]
        return said, _summed(self.betas, chances)

    def _log_chances(self, model: EditableModel, reading: Reading, shared: int) -> Tensor:
        """(B, K, shared)."""

        def ask(text: Text, past: DynamicCache | None) -> Tensor:
            places = _within(model, text)
            batch = Batch(text.ids, text.mask, query=places[:, -1], target_ids=[], position_ids=places)
            keep = text.ids.shape[1] - int(text.columns.min())
            out = model.run({**model.inputs(batch), "past_key_values": past}, cached=past is not None, keep=keep)
            return out.logits[:, -keep:][:, text.columns - text.ids.shape[1]]

        return reading.ask(("logits", weakref.ref(model.model)), ask)[..., :shared].float().log_softmax(-1)


class SenseChain:
    """A Backpack whose edits are additions to senses: one pass for all stages.

    The weights α do not depend on senses, so that o' = o + Σ α d; and no head is run where no edited word is in sight.
    """

    def __init__(self, small: EditableModel, betas: Sequence[float], reached: Sequence[Sequence[SensePatch]]) -> None:
        self.small, self.network, self.betas = small, backpack_of(small), betas
        config = self.network.config
        sizes = (config.vocab_size, config.num_senses, small.device)
        self.stages = [Additions.of(patches, *sizes) for patches in reached]
        self.edited = (self.stages[-1].place >= 0).any(1)  # (V,) bool: what a stage edits, later ones have edited too

    def change(self, reading: Reading, shared: int) -> Change | None:
        # Read on even where nothing is said now: what comes may depend on it.
        out, asked = reading.ask(("sums", weakref.ref(self.network)), self._ask)
        ids = reading.ids.to(self.edited.device)
        sources = self.edited[ids].any(0).nonzero()[:, 0]
        if not len(sources):
            return None
        weights = out.contextualization.index_select(-1, sources).index_select(2, asked).float()
        words = ids[:, sources]
        moved = [weighted(weights, _dense(stage, words)) for stage in self.stages]
        said = torch.stack([one.any(-1) for one in moved]).any(0) & _readable(self.small, reading.new)
        sums = out.last_hidden_state[:, asked][said]
        states = [sums, *((sums.float() + one[said]).to(sums.dtype) for one in moved)]
        chances = [self.network.lm_head(state)[:, :shared].float().log_softmax(-1) for state in states]
        return said, _summed(self.betas, chances)

    def _ask(self, text: Text, past: DynamicCache | None) -> tuple[BackpackOutput, Tensor]:
        """Sums and weights of all that is read, and the columns asked for."""
        out = self.network.transformer(
            text.ids, past_key_values=past, attention_mask=text.mask, position_ids=_within(self.small, text),
            use_cache=past is not None,
        )  # fmt: skip
        return out, text.columns


def _dense(additions: Additions, words: Tensor) -> Tensor:
    """(B, C, k, d): what is added to the senses of words (B, C)."""
    rows = additions.place[words].long()
    return additions.vectors[rows.clamp(min=0)] * (rows >= 0)[..., None]


def _summed(betas: Sequence[float], chances: Sequence[Tensor]) -> Tensor:
    """Each stage's change of log-probabilities, as strongly as it is heard."""
    changes = (beta * (after - before) for beta, before, after in zip(betas, chances[:-1], chances[1:], strict=True))
    return sum(changes, torch.zeros_like(chances[0]))


def _within(model: EditableModel, text: Text) -> Tensor:
    """The text's positions; those beyond what the model can read are its last."""
    return text.positions if model.context is None else text.positions.clamp(max=model.context - 1)


def _readable(model: EditableModel, text: Text) -> Tensor:
    """(B, K) bool: the columns asked for up to which the model can read. Of the others it says nothing."""
    asked = text.positions[:, text.columns]
    return torch.ones_like(asked, dtype=torch.bool) if model.context is None else asked < model.context
