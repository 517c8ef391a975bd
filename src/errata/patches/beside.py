"""What small models remember of a text that a big one reads: layers of the big model's own cache, after its own.

Whatever then selects, repeats, reorders, joins or crops the big model's cache does the same to theirs. Between both
lies a layer of the tokens read, from which a small model that was not there before reads everything anew. Knows caches
and columns; it does not know what small models are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from errata.errors import BadModel


class Seam(DynamicLayer):
    """Token ids (as keys) and their positions (as values), (B, 1, S, 1) each; small models' layers come after it.

    Attributes:
        runs: whose layers, in order, and how many each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: tuple[tuple[Hashable, int], ...] = ()


@dataclass(frozen=True)
class Text:
    """B rows of T new tokens, and of S that are in sight with those before.

    Attributes:
        ids, positions: (B, T), or (B, S) of what is read.
        mask: (B, S), 0 at padding.
        columns: (K,), those of the T for which something is asked.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    columns: Tensor


Ask = Callable[[Text, DynamicCache | None], Any]


class Reading:
    """One forward of the big model, as small models see it.

    Attributes:
        new: the text of this forward.
        ids: (B, S), with those read before.
    """

    def __init__(self, new: Text, cache: Cache | None, before: int) -> None:
        """Of `new`, after `before` tokens that the big model remembers in `cache`.

        Raises:
            BadModel: nobody saw these.
        """
        self.new, self._cache = new, cache
        self._seam, self._layers = _taken(cache, before)
        self._runs: dict[Hashable, list[Any]] = {}
        self._answers: dict[Hashable, Any] = {}
        self.ids, self._positions = new.ids, new.positions
        if cache is not None:
            seen = self._seam.update(new.ids[:, None, :, None], new.positions[:, None, :, None])
            self.ids, self._positions = (part[:, 0, :, 0] for part in seen)

    def ask(self, run: Hashable, ask: Ask) -> Any:
        """What `ask` gets from the network called `run` for this text; it is asked once.

        It is given the text to read and a cache to pass on: the new tokens alone, or all of them where the network has
        not read those before.
        """
        if run not in self._answers:
            # Of the plain kind also where there is a sliding window: the mask sees to that, and rows can be joined.
            past = None if self._cache is None else DynamicCache()
            text, known = self.new, self._layers.get(run)
            if past is not None and known:
                past.layers = known
            elif self.ids.shape[1] > self.new.ids.shape[1]:
                missed = self.ids.shape[1] - self.new.ids.shape[1]
                text = Text(self.ids, self._positions, self.new.mask, self.new.columns + missed)
            self._answers[run] = ask(text, past)
            if past is not None:
                self._runs[run] = past.layers
        return self._answers[run]

    def close(self) -> None:
        """Leave what was read in the cache, for the next forward."""
        if self._cache is not None:
            self._seam.runs = tuple((run, len(layers)) for run, layers in self._runs.items())
            self._cache.layers += [self._seam, *(layer for layers in self._runs.values() for layer in layers)]


def _taken(cache: Cache | None, before: int) -> tuple[Seam, dict[Hashable, list[Any]]]:
    """The seam and the layers after it, by run, taken out of the cache; a new seam where nothing was read before."""
    layers: list[Any] = [] if cache is None else cache.layers
    place = next((place for place, layer in enumerate(layers) if isinstance(layer, Seam)), len(layers))
    own = 1 + sum(count for _, count in layers[place].runs) if place < len(layers) else 0
    tail = layers[place : place + own]  # what others keep in the cache stays where it is
    del layers[place : place + own]
    if not before:
        return Seam(), {}
    if not tail or tail[0].get_seq_length() != before:
        raise BadModel(
            f"an ensemble cannot follow a cache of {before} tokens that it did not see being read; read the text from "
            "its beginning, with the patch attached"
        )
    found, start = {}, 1
    for run, count in tail[0].runs:
        found[run] = tail[start : start + count]
        start += count
    return tail[0], found


def columns_of(keep: int | Tensor, length: int, device: torch.device) -> Tensor:
    """(K,): the columns of `length` that transformers' `logits_to_keep` asks for."""
    if isinstance(keep, Tensor):
        return keep.to(device)
    return torch.arange(max(length - keep, 0) if keep else 0, length, device=device)
