"""Rows that are decoded together: their caches, and how rows join and leave between two steps.

Knows a model's forward pass and its cache. It chooses no token and knows no request.

Transformers' own continuous batching (`generate_batch`) does not serve here: it packs all requests into one row without
an attention mask, under which a patch of states can tell neither rows nor padding, and has one set of sampling
settings for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache

from errata.models import Batch, EditableModel
from errata.models.decoding import advance, start
from errata.models.encoding import start_id


def can_join(model: EditableModel) -> bool:
    """Whether rows can join others that are being decoded.

    Their caches must be keys and values by column, so that padding on the left is all that tells them apart.
    """
    kinds = getattr(model.model.config.get_text_config(), "layer_types", None) or ()
    columns = set(kinds) <= {"full_attention", "sliding_attention"}
    return model.task == "causal" and columns and not model.model._is_stateful


def begin(model: EditableModel, prompts: Sequence[Sequence[int]]) -> Rows:
    """Read the prompts (ids), as rows in this order; `logits` then are what follows each."""
    return JoiningRows(model, prompts) if can_join(model) else FixedRows(model, prompts)


class Rows(ABC):
    """Rows in the order of their requests.

    Attributes:
        logits: (B, V) float, for what follows every row: after reading prompts, and after every `step`.
    """

    logits: Tensor

    @abstractmethod
    def keep(self, places: Sequence[int]) -> None:
        """Only these rows stay, in this order; at least one. `logits` are void until the next step."""

    @abstractmethod
    def feed(self, tokens: Sequence[int]) -> None:
        """What each row reads at the next step."""

    @abstractmethod
    def step(self) -> None:
        """Read what was fed."""

    @abstractmethod
    def locate(self, row: int, column: int, layer: int) -> tuple[int, int] | None:
        """Which of the rows, and where in its own sequence, a block meant by a place in the batch it just saw.

        None if the row has left.
        """


class JoiningRows(Rows):
    """Rows of a causal model. They end in the same column; the shorter are padded on the left."""

    def __init__(self, model: EditableModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        # Of the plain kind also where a model has a sliding window: its mask sees to that, and columns can be joined.
        self._cache = DynamicCache()
        ids, self._mask = _padded_left(prompts, model)
        self._unread = ids[:, :0]
        self._read(ids, (self._mask.cumsum(1) - 1).clamp(min=0))

    def keep(self, places: Sequence[int]) -> None:
        index = torch.tensor(places, device=self._mask.device)
        mask, self._unread = self._mask[index], self._unread[index]
        unused = int(mask.any(0).int().argmax())  # columns that the longest row alone had
        self._mask = mask[:, unused:]
        for layer in _filled(self._cache):
            layer.keys, layer.values = (part[index, :, unused:] for part in (layer.keys, layer.values))

    def feed(self, tokens: Sequence[int]) -> None:
        self._unread = torch.tensor(tokens, device=self._mask.device)[:, None]

    def join(self, other: JoiningRows) -> None:
        """Take in rows of the same model after these; both were fed."""
        width = max(self._mask.shape[1], other._mask.shape[1])
        self._mask = torch.cat([_widened(rows._mask, width, dim=1) for rows in (self, other)])
        self._unread = torch.cat([self._unread, other._unread])
        for mine, theirs in zip(_filled(self._cache), _filled(other._cache), strict=True):
            mine.keys = torch.cat([_widened(layer.keys, width, dim=2) for layer in (mine, theirs)])
            mine.values = torch.cat([_widened(layer.values, width, dim=2) for layer in (mine, theirs)])

    def step(self) -> None:
        positions = self._mask.sum(1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones_like(self._unread)], 1)
        self._read(self._unread, positions)

    def locate(self, row: int, column: int, layer: int) -> tuple[int, int] | None:
        return row, column - int(self._mask[row].argmax())

    def _read(self, ids: Tensor, positions: Tensor) -> None:
        batch = Batch(ids, self._mask, query=positions[:, -1], target_ids=[], position_ids=positions)
        inputs = {**self._model.inputs(batch), "past_key_values": self._cache}
        self.logits = self._model.run(inputs, cached=True, keep=1).logits[:, -1].float()


class FixedRows(Rows):
    """Rows that began together: of an encoder-decoder, a classifier, or a model with a cache of another kind.

    None can join. One that leaves is computed to the end of the others.
    """

    def __init__(self, model: EditableModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._batch = _batch(model, prompts)
        self._places = list(range(len(prompts)))
        self._written = 0
        self._feed: dict[str, Any] = {}
        if model.task == "classification":
            self.logits = model.forward(self._batch)[:, 0].float()
        else:
            self._feed, self._state = start(model, self._batch)
            self._read()

    def keep(self, places: Sequence[int]) -> None:
        self._places = [self._places[place] for place in places]

    def feed(self, tokens: Sequence[int]) -> None:
        newest = torch.full((len(self._batch),), self._model.pad_id, device=self._model.device)
        newest[self._places] = torch.tensor(tokens, device=newest.device)
        self._written += 1
        advance(self._feed, self._state, newest, self._cache)

    def step(self) -> None:
        self._read()

    def locate(self, row: int, column: int, layer: int) -> tuple[int, int] | None:
        if row not in self._places:
            return None
        place = self._places.index(row)
        if self._model.task == "seq2seq" and self._model.arch.causal(layer):
            return place, self._written  # a decoder is handed no mask, so its blocks count from the newest token
        return place, column - int(self._batch.pads[row])

    def _read(self) -> None:
        out = self._model.run({**self._feed, **self._state}, cached=True, keep=1)
        self._cache = out.get("past_key_values")
        self.logits = out.logits[:, -1].float()[self._places]


def _batch(model: EditableModel, prompts: Sequence[Sequence[int]]) -> Batch:
    if model.task == "classification":
        ids, mask = _padded_right(prompts, model)
        return Batch(ids, mask, query=mask.sum(1) - 1, target_ids=[])
    ids, mask = _padded_left(prompts, model)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    if model.task == "causal":
        return Batch(ids, mask, query=positions[:, -1], target_ids=[], position_ids=positions)
    first = torch.full((len(ids), 1), start_id(model), device=ids.device)
    return Batch(ids, mask, query=positions[:, -1], target_ids=[], decoder_input_ids=first)


def _padded_left(rows: Sequence[Sequence[int]], model: EditableModel) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, T)."""
    width = max(map(len, rows))
    ids = [[model.pad_id] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)


def _padded_right(rows: Sequence[Sequence[int]], model: EditableModel) -> tuple[Tensor, Tensor]:
    ids, mask = _padded_left([list(row)[::-1] for row in rows], model)
    return ids.flip(1), mask.flip(1)


def _filled(cache: DynamicCache) -> list[Any]:
    """The layers that hold something: some models share one layer's keys and values with others."""
    return [layer for layer in cast(Sequence[Any], cache.layers) if layer.is_initialized]


def _widened(tensor: Tensor, width: int, dim: int) -> Tensor:
    """With zeros on the left, up to so many columns."""
    missing = list(tensor.shape)
    missing[dim] = width - tensor.shape[dim]
    return torch.cat([tensor.new_zeros(missing), tensor], dim) if missing[dim] else tensor
