"""What a model's own vocabulary tells of a word: how rare it is, and where its embedding lies.

A tokenizer numbers its pieces about by frequency, so that a word's pieces say how rare it is in the text that the
vocabulary was made from. Knows a tokenizer and the table of input embeddings; runs no model.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from errata.words import proper_words, words

if TYPE_CHECKING:
    from errata.models import EditableModel

COMMON = 250  # pieces below this number are bytes, signs and the commonest words, which tell nothing
SPLIT = 2.0  # how much rarer a word is for every piece more that it takes: short pieces are common by themselves
NAMED = 2.0  # least rarity of a word that names something, such as a number
FLOOR = 0.1  # weight that even the commonest word has in a weighted mean
KEPT = 20_000  # words whose vectors are kept
STARTS = "Ġ▁"  # how tokenizers write that a piece begins a word
WHOLE = 3  # letters of a piece that is a word of its own
_KNOWN = WeakTensorKeyDictionary()  # by the table: networks that share it share this


@dataclass(frozen=True)
class Bag:
    """The distinct words of a text with their rarities, and those of them that are names."""

    rarities: dict[str, float]
    names: frozenset[str]


class Vocabulary:
    """Words of one model.

    Attributes:
        width: of an embedding, d.
    """

    def __init__(self, model: EditableModel) -> None:
        self._tokenizer = model.tokenizer
        self._table = _table_of(model).detach()
        self._mean = self._table.float().mean(0).cpu()
        self._version = self._table._version
        self.width = self._table.shape[1]
        self._words: dict[str, tuple[float, Tensor, bool]] = {}

    @classmethod
    def of(cls, model: EditableModel) -> Vocabulary:
        """Return the vocabulary of a model as its table is now; made once, and again where the table was written."""
        table = _table_of(model)
        known = _KNOWN.get(table)
        if known is None or known._version != table._version:
            known = _KNOWN[table] = cls(model)
        return known

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

    def bag(self, text: str) -> Bag:
        """Return the distinct words of a text."""
        read, proper = dict.fromkeys(words(text)), proper_words(text)
        names = frozenset(word for word in read if word in proper or self._look(word)[2])
        return Bag({word: max(self.rarity(word), NAMED * (word in names)) for word in read}, names)

    def without_names(self, text: str) -> str:
        """Return the words of a text that name nothing: what is asked, and not about whom."""
        names = self.bag(text).names
        return " ".join(word for word in words(text) if word not in names)

    def whole_words(self) -> list[str]:
        """Return the words that are one piece, or numbers where there is none, the commonest first."""
        pieces = self._tokenizer.convert_ids_to_tokens(list(range(len(self._table))))
        found = [piece[1:] for piece in pieces if piece and piece[0] in STARTS and piece[1:].isalpha()]
        return [word for word in found if len(word) >= WHOLE] or [str(number) for number in range(COMMON)]

    def _look(self, word: str) -> tuple[float, Tensor, bool]:
        """Rarity and vector of a word as it is usually written, and whether it is a name: usually with a capital."""
        if (known := self._words.get(word)) is None:  # other threads may empty the table meanwhile
            if len(self._words) >= KEPT:  # whatever clients send
                self._words = {}
            spelt = {one: self._pieces(f" {one}") for one in (word, word.capitalize(), word.upper())}
            ranks = {one: sum(map(_rank, ids)) + SPLIT * (len(ids) - 1) for one, ids in spelt.items()}
            usual = min(ranks, key=lambda one: ranks[one])
            ids = spelt[usual]
            vectors = self._table[torch.tensor(ids, device=self._table.device)].float().cpu() - self._mean
            found = ranks[usual], nn.functional.normalize(vectors.mean(0), dim=0), usual != word
            self._words[word] = found
            return found
        return known

    def _pieces(self, text: str) -> list[int]:
        return cast(list[int], self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _table_of(model: EditableModel) -> Tensor:
    return cast(Tensor, model.model.get_input_embeddings().get_parameter("weight"))


def _rank(id: int) -> float:
    return max(0.0, math.log((id + 2) / COMMON))
