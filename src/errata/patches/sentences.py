"""Where running text comes to what an edit answers: which sentence a token continues, and what the model would say.

Knows token ids, states of the last block and entries; no hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from errata.models.readout import Readout
from errata.patches.places import CONTINUED, Place, Row
from errata.scope.vocabulary import Vocabulary
from errata.words import current_sentence, words

if TYPE_CHECKING:
    from errata.models import EditableModel
    from errata.patches.scoped import Answered, ScopedPatch

WINDOW = 96  # tokens of a sentence at most
READY = 3  # an edit answers where what the model says at its prompt is among so many likeliest,
LIKELY = 30  # or among so many where the likeliest is a word that tells something
TELLING = 2.0  # least rarity of such a word


@dataclass(frozen=True)
class Beginning:
    """An id after which running text may come to an edit's answer, and the entries asked for with their scores."""

    row: Row
    index: int
    asked: list[tuple[float, Answered]]


def following(patch: ScopedPatch, row: Row, index: int, entry: Answered, score: float) -> list[Place]:
    """Return the places, among what is read now, of an answer that begins after an id and is written so far."""
    found = []
    for step in range(len(entry.label)):
        at = index + step
        if at >= len(row.ids) or (step and row.ids[at] != entry.label[step - 1]):
            break
        if at >= row.start:
            found.append(row.place(at, entry, step, score, patch))
    return found


def answers_in_text(
    model: EditableModel, patch: ScopedPatch, rows: Sequence[Row], marks: Tensor, hidden: Tensor
) -> list[Place]:
    """Return the places at which running text comes to an edit's answer, or goes on with one.

    Args:
        rows: of the batch, of which something is read now.
        marks: (B, S), where answers began before; those that begin now are added.
        hidden: (B, T, d), the last block's own output.
    """
    begun = [one for row in rows for one in beginnings(model, patch, row)]
    said = {(one.row.number, one.index): entry for one, entry in _ready(model, begun, hidden)}
    places: list[Place] = []
    for row in rows:
        held, index = marks[row.number], max(0, row.start - patch.longest)
        while index < len(row.ids):
            score, entry = said.get((row.number, index), (CONTINUED, None))
            if entry is None:
                entry = patch.sentences.get(int(held[row.positions[index]]))
            else:
                held[row.positions[index]] = entry.code
            steps = [] if entry is None else following(patch, row, index, entry, score)
            places += steps
            index = max([index, *(place.index for place in steps)]) + 1  # no answer begins within another
    return places


def beginnings(model: EditableModel, patch: ScopedPatch, row: Row) -> Iterator[Beginning]:
    """Yield the places, among what is read now, at which the sentence so far asks for an edit."""
    questions, ids = patch.questions(model), row.ids
    first = _start_of_sentence(model, ids, row.start)
    if row.start == len(ids) or not questions.may_ask(_text(model, ids[first:])):
        return
    for index in range(row.start, len(ids)):
        first = index + 1 if _closes(model.tokenizer, ids[index]) else max(first, index - WINDOW)
        text = current_sentence(_text(model, ids[first : index + 1]))
        if text and questions.may_ask(text):
            asked = [pair for pair in patch.asked_by(model, text) if not _said(model, text, pair[1])]
            if asked:
                yield Beginning(row, index, asked)


def _said(model: EditableModel, sentence: str, entry: Answered) -> bool:
    """Whether a sentence holds the answer already."""
    answer = " ".join(words(_text(model, entry.label)))
    return f" {answer} " in f" {' '.join(words(sentence))} "


@torch.no_grad()
def _ready(
    model: EditableModel, found: Sequence[Beginning], hidden: Tensor
) -> Iterator[tuple[Beginning, tuple[float, Answered]]]:
    """Yield what answers, with its score: the best of the entries whose old answer the model is about to give."""
    if not found:
        return
    columns = [one.row.positions[one.index] - one.row.before for one in found]
    logits = Readout.of(model)(hidden[[one.row.number for one in found], columns])
    for one, own in zip(found, logits, strict=True):
        most = LIKELY if _tells(model, int(own.argmax())) else READY
        ready = (pair for pair in one.asked if int((own > own[pair[1].expected]).sum()) < most)
        if best := next(ready, None):
            yield one, best


def _tells(model: EditableModel, id: int) -> bool:
    """Whether a token begins a word that tells something, such as an answer, and is no sign or particle."""
    read = words(_text(model, [id]))
    return bool(read) and Vocabulary.of(model).rarity(read[0]) >= TELLING


def _start_of_sentence(model: EditableModel, ids: Sequence[int], before: int) -> int:
    """Return the index after the last token before `before` that ends a paragraph or a turn."""
    for at in range(before - 1, max(-1, before - 1 - WINDOW), -1):
        if _closes(model.tokenizer, ids[at]):
            return at + 1
    return max(0, before - WINDOW)


@lru_cache(maxsize=65536)
def _closes(tokenizer: object, id: int) -> bool:
    """Whether a token ends what is said: a line break, or a special token such as the end of a turn."""
    return id in tokenizer.all_special_ids or "\n" in tokenizer.decode([id])  # type: ignore[attr-defined]


def _text(model: EditableModel, ids: Sequence[int]) -> str:
    return str(model.tokenizer.decode(list(ids), skip_special_tokens=True))
