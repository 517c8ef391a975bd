"""Near vectors among very many: only the parts of space about a text are looked through.

An inverted file with product quantisation (IVF, PQ; arXiv:1702.08734) of the optional package faiss. It is trained on
texts made of the vocabulary's words and not on the questions, so that where a question is filed depends on nothing but
itself: adding and removing others leave no trace. Of real questions, whose vectors fill all their dimensions, a graph
(HNSW) found fewer neighbours in the same time.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from torch import Tensor

from errata.scope.encoders import Encoder
from errata.scope.scorer import Scorer
from errata.scope.vocabulary import Vocabulary

FOUND = 128  # rows returned for one text
PARTS = 2048
LEAST_LOOKED, MOST_LOOKED = 32, 256  # parts looked through for one text
EFFORT = 32_000_000  # rows times parts looked through: among fewer rows there is time for more parts
TRAINED_ON = 8192  # texts
CODES = 2  # dimensions of a vector that one code of four bits stands for
NUMBERS_OF_NAMES = (1, 1, 2, 2, 3)
FRAMES = (
    "What is the {thing} of {name}?", "Who is the {thing} of {name}?", "Where is {name}?", "When was {name} born?",
    "Who wrote {name}?", "Which {thing} does {name} have?", "In what {thing} is {name}?", "What does {name} do?",
    "How many {thing} are in {name}?", "Tell me about the {thing} of {name}.", "Why did {name} leave?",
    "What {thing} did {name} play?", "Which company made {name}?", "Name the {thing} of {name}.",
    "What language does {name} speak?", "Where did {name} work?", "What is {name} known for?", "Who owns {name}?",
    "How old is {name}?", "Is {name} a {thing}?", "Can I {thing} with {name}?", "What city is {name} in?",
    "What kind of {thing} is {name}?", "Who was the first {thing} in {name}?", "When did {name} start?",
)  # fmt: skip


class Partition:
    """Rows by the part of space in which their vectors lie. Threads may share it."""

    def __init__(self, trained: Any) -> None:
        """Args: trained: a faiss index without rows."""
        self._empty, self._index, self._lock = trained, _faiss().clone_index(trained), Lock()

    @classmethod
    def for_scorer(cls, scorer: Scorer, encoder: Encoder, vocabulary: Vocabulary) -> Partition:
        """Return a partition without rows for the vectors of a scorer; the same for the same scorer and vocabulary."""
        faiss, vectors = _faiss(), scorer.place(encoder.encode(made_up_questions(vocabulary, TRAINED_ON))).numpy()
        width = vectors.shape[1]
        padded = width + -width % CODES
        centres = faiss.IndexFlatIP(padded)
        centres.add(_pad(vectors[:PARTS], padded))
        index = faiss.IndexIVFPQFastScan(centres, padded, PARTS, padded // CODES, 4, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False
        index.train(_pad(vectors, padded))
        return cls(index)

    def emptied(self) -> Partition:
        """Return a partition without rows that files vectors as this one does."""
        return Partition(self._empty)

    def extend(self, vectors: np.ndarray) -> None:
        """Add the rows of `vectors` (n, k) that it lacks, those after as many as it has."""
        with self._lock:  # searching while an inverted list moves would read freed memory
            for first in range(self._index.ntotal, len(vectors), TRAINED_ON):
                self._index.add(_pad(vectors[first : first + TRAINED_ON], self._index.d))

    def selector(self, limit: int, gone: np.ndarray) -> Any:
        """Return what `search` takes to leave out the rows from `limit` on and those in `gone`."""
        faiss = _faiss()
        below = faiss.IDSelectorRange(0, limit)
        return faiss.IDSelectorAnd(below, faiss.IDSelectorNot(faiss.IDSelectorBatch(gone))) if len(gone) else below

    def search(self, queries: Tensor, selector: Any, among: int) -> list[np.ndarray]:
        """Return for each of the unit vectors (v, k) up to FOUND rows near it, in no order.

        Args:
            among: how many rows the selector lets through.
        """
        looked = max(LEAST_LOOKED, min(MOST_LOOKED, EFFORT // among))
        settings = _faiss().IVFSearchParameters(sel=selector, nprobe=looked)
        with self._lock:
            near, found = self._index.search(_pad(queries.numpy(), self._index.d), FOUND, params=settings)
        return [_drop_ties(*pair) for pair in zip(near, found, strict=True)]


def available() -> bool:
    """Return whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


def made_up_questions(vocabulary: Vocabulary, count: int) -> list[str]:
    """Return questions about names and things drawn from a vocabulary, the same ones every time."""
    known, rng = vocabulary.whole_words(), random.Random(0)

    def name() -> str:
        return " ".join(rng.choice(known).capitalize() for _ in range(rng.choice(NUMBERS_OF_NAMES)))

    return [rng.choice(FRAMES).format(name=name(), thing=rng.choice(known)) for _ in range(count)]


def _drop_ties(near: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Drop the last of rows and all that are just as near: which of those were found depends on the order of filing."""
    sure = (near > near[-1]) if rows[-1] >= 0 else (rows >= 0)
    return rows[sure] if sure.any() else rows


@cache
def _faiss() -> Any:
    return importlib.import_module("faiss")


def _pad(vectors: np.ndarray, width: int) -> np.ndarray:
    """(n, width) float32, with zeros at the end, which change no product."""
    return np.pad(vectors.astype(np.float32), ((0, 0), (0, width - vectors.shape[1])))
