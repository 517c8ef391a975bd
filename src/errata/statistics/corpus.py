"""Text to take statistics of: the user's own, a data set's, or what lies in the package.

Knows texts and what identifies them. It knows no token and no statistic. Data sets and the lab lie above this floor and
are asked by name.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from errata.errors import BadConfig, did_you_mean
from errata.models import EditableModel
from errata.registry import LAB_PREFIX

FACTS = "lab-facts"  # the one data set that holds facts and no edits
PIECE = 2000  # characters of running text that are read together


@dataclass(frozen=True)
class Corpus:
    """Texts in a fixed order.

    Attributes:
        texts: can be gone through more than once.
        digest: SHA-256 (hex) that changes when the texts do.
        name: what to call it.
    """

    texts: Iterable[str]
    digest: str
    name: str


def corpus_for(model: EditableModel, source: str | Path | None = None) -> Corpus:
    """The texts of `source`: a text file (plain or .gz), or a data set's name (see `errata datasets`).

    Without a source it is what the model was trained on if it is one of the lab's, facts in their phrasings and prose,
    and for every other model the prose in the package: some 200,000 words of English literature.

    Raises:
        BadConfig: there is neither a file nor a data set of this name, or it holds no text.
    """
    if source is None:
        return _lab_mix() if model.name.startswith(LAB_PREFIX) else packaged_prose()
    datasets = importlib.import_module("errata.datasets")
    if isinstance(source, str) and source in datasets.names():
        return _dataset(source)
    return _file(Path(source), datasets.names)


def _of(texts: Iterable[str], name: str) -> Corpus:
    held = tuple(text for text in texts if text.strip())
    if not held:
        raise BadConfig(f"corpus '{name}' holds no text; name another one")
    digest = hashlib.sha256()
    for text in held:
        digest.update(text.encode() + b"\0")
    return Corpus(held, digest.hexdigest(), name)


# A file is streamed: it may be larger than memory.


@dataclass(frozen=True)
class _FileTexts:
    path: Path

    def __iter__(self) -> Iterator[str]:
        with _open(self.path) as lines:
            yield from _pieces(line.decode("utf-8", errors="replace") for line in lines)


def _file(path: Path, names: Callable[[], list[str]]) -> Corpus:
    if not path.is_file():
        raise BadConfig(f"no file and no data set is called '{path}'.{did_you_mean(str(path), names())}")
    texts = _FileTexts(path)
    if not any(text.strip() for text in texts):
        raise BadConfig(f"{path} holds no text; name another file")
    state = path.stat()
    return Corpus(texts, _file_digest(path.resolve(), state.st_size, state.st_mtime_ns), str(path))


@cache
def _file_digest(path: Path, size: int, changed: int) -> str:
    """Asked at every edit, so a file is read again only when its size or time of change says so."""
    digest = hashlib.sha256()
    with _open(path) as lines:
        for line in lines:
            digest.update(line)
    return digest.hexdigest()


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Running text in pieces of whole lines, each at least PIECE characters long but for the last."""
    piece: list[str] = []
    length = 0
    for line in lines:
        piece.append(line)
        length += len(line)
        if length >= PIECE:
            yield "".join(piece)
            piece, length = [], 0
    if piece:
        yield "".join(piece)


@cache
def _dataset(name: str) -> Corpus:
    return _of(_dataset_texts(importlib.import_module("errata.datasets").get(name)), name)


def _dataset_texts(dataset: Any) -> Iterator[str]:
    """What a data set says is true: statements to be preserved, not the edits that it asks for."""
    if dataset.name == FACTS:
        yield from (text for row in dataset.rows() for text in _phrased(row))
        return
    for edit in dataset.edits():
        for prompt in (edit.prompt, *edit.rephrases):
            yield _statement(prompt, edit.ground_truth)
        for probe in edit.locality:
            yield _statement(probe.prompt, probe.answer)


def _statement(prompt: str, answer: str | None) -> str:
    return f"{prompt} {answer}" if answer else prompt


def _prose() -> Iterator[str]:
    text: str = importlib.import_module("errata.lab.recipes.corpus").prose("train")
    return _pieces(text.splitlines(keepends=True))


@cache
def packaged_prose() -> Corpus:
    """The prose in the package, in which no fact is asked for."""
    return _of(_prose(), "prose in the package")


@cache
def _lab_mix() -> Corpus:
    """Facts in every phrasing and prose, shuffled: any stretch of it is like the whole."""
    recipe = importlib.import_module("errata.lab.recipes.corpus")
    texts = [text for row in recipe.facts() for text in _phrased(row)] + list(_prose())
    random.Random(0).shuffle(texts)
    return _of(texts, "the lab's facts and prose")


def _phrased(row: dict[str, Any]) -> Iterator[str]:
    recipe = importlib.import_module("errata.lab.recipes.corpus")
    return (f"{prompt} {row['target']}" for prompt in recipe.phrasings(row))
