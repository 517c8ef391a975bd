"""What has been read so far, kept in a model's own key-value cache as one more layer: the ids of every row.

Whatever then selects, repeats, reorders, joins or crops the cache does the same to the ids, so that a patch that
decides by the text sees the same text however it was read. Knows caches and ids.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from errata.errors import BadModel


class Transcript(DynamicLayer):
    """Ids of the tokens read, (B, 1, S, 1), as keys; as values marks, 0 where there is none."""

    def marks(self, last: int) -> Tensor:
        """(B, last): the marks of the last tokens, to be read and written."""
        assert self.values is not None
        return self.values[:, 0, self.values.shape[2] - last :, 0]


def take(cache: Cache | None, ids: Tensor, before: int) -> tuple[Tensor, Transcript]:
    """Take the transcript out of a cache and add what is read now.

    Args:
        cache: as it is handed to the model, whose own layers alone it holds afterwards.
        ids: (B, T), read now.
        before: tokens that the cache holds.

    Returns:
        (B, before + T) ids, and the layer to be put back once the model has read.

    Raises:
        BadModel: what the cache holds was read while nobody listened.
    """
    layers: list[Any] = [] if cache is None else cache.layers
    place = next((place for place, layer in enumerate(layers) if isinstance(layer, Transcript)), None)
    kept = Transcript() if place is None else layers.pop(place)
    if not before:
        kept = Transcript()
    elif place is None or kept.get_seq_length() != before:
        raise BadModel(
            f"an edit that is bound to a question cannot follow a cache of {before} tokens that it did not see being "
            "read; read the text from its beginning, with the patch attached"
        )
    seen, _ = kept.update(ids[:, None, :, None], torch.zeros_like(ids)[:, None, :, None])
    return seen[:, 0, :, 0], kept


def put(cache: Cache | None, kept: Transcript) -> None:
    """Leave the transcript in the cache, after the model's own layers."""
    if cache is not None:
        cache.layers.append(kept)


def real_columns(mask: Tensor | None, ids: Tensor) -> Tensor:
    """(B, S) bool: False at padding. All are real where the model was given no plain mask."""
    if mask is None or mask.dim() != 2 or mask.shape != ids.shape:
        return torch.ones_like(ids, dtype=torch.bool)
    return mask != 0
