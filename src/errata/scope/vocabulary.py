"""What a model's own vocabulary tells of a word: how rare it is, and where its embedding lies.

A tokenizer numbers its pieces about by frequency, so that a word's pieces say how rare it is in the text that the
vocabulary was made from. Knows a tokenizer and the table of input embeddings; runs no model.
"""

from __future__ import annotations

import hashlib
import math
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from errata.scope.words import words

if TYPE_CHECKING:
    from errata.models import EditableModel

COMMON = 250  # pieces below this number are bytes, signs and the commonest words, which tell nothing
FLOOR = 0.1  # weight that even the commonest word has in a weighted mean
_KNOWN: weakref.WeakKeyDictionary[nn.Module, Vocabulary] = weakref.WeakKeyDictionary()


class Vocabulary:
    """Words of one model.

    Attributes:
        width: of an embedding, d.
    """

    def __init__(self, model: EditableModel) -> None:
        self._tokenizer = model.tokenizer
        table = cast(Tensor, model.model.get_input_embeddings().get_parameter("weight")).detach()
        self._table = table
        self._mean = table.float().mean(0).cpu()
        self.width = table.shape[1]
        self._words: dict[str, tuple[float, Tensor]] = {}

    @classmethod
    def of(cls, model: EditableModel) -> Vocabulary:
        """Return the vocabulary of a model, made once."""
        if model.model not in _KNOWN:
            _KNOWN[model.model] = cls(model)
        return _KNOWN[model.model]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) that changes with the table or the tokenizer."""
        sample = self._table[:: max(1, len(self._table) // 512)].float().cpu().contiguous()
        made = hashlib.sha256(sample.numpy().tobytes())
        made.update(str(self._pieces("It reads This.")).encode())
        return made.hexdigest()

    def rarity(self, word: str) -> float:
        """Return how rare a word is: 0 for the commonest, about 5 for a rare piece, more for a word of several."""
        return self._look(word)[0]

    def vector(self, word: str) -> Tensor:
        """Return the (d,) centred, normalised mean embedding of a word's pieces."""
        return self._look(word)[1]

    def rarities(self, text: str) -> dict[str, float]:
        """Return the distinct words of a text with their rarities."""
        return {word: self.rarity(word) for word in words(text)}

    def _look(self, word: str) -> tuple[float, Tensor]:
        if word not in self._words:
            spelt = {word, word.capitalize(), word.upper()}  # a name is one piece only as it is usually written
            pieces = [self._pieces(f" {one}") for one in sorted(spelt)]
            rarity, ids = min((sum(map(_rank, ids)), ids) for ids in pieces)
            vectors = self._table[torch.tensor(ids, device=self._table.device)].float().cpu() - self._mean
            self._words[word] = rarity, nn.functional.normalize(vectors.mean(0), dim=0)
        return self._words[word]

    def _pieces(self, text: str) -> list[int]:
        return cast(list[int], self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _rank(id: int) -> float:
    return max(0.0, math.log((id + 2) / COMMON))
