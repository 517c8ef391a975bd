"""Asking a model: free answers and teacher-forced scores of many questions, in batches, no prompt twice.

Knows models and questions; what the answers are worth is the metrics' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from errata.evaluate.evidence import Answer, Forced
from errata.evaluate.questions import Question, distinct_prompts
from errata.models import EditableModel
from errata.models.losses import IGNORED

ROWS = 64  # in one forward
PLACES = 6  # of a loss: what is read back from results is what was measured
UNMOVED = ("locality", "upstream")  # kinds of questions whose earlier answers are scored too
T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model said to one question, and its scores of the expected answer, the rival, and what was said before."""

    said: str
    expected: str
    forced: Forced | None
    rival: Forced | None
    kept: Forced | None

    def to_json(self) -> dict[str, Any]:
        """JSON values; from_json reads them back."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Heard:
        scores = {name: Forced(**value[name]) if name in value else None for name in ("forced", "rival", "kept")}
        return cls(value["said"], value["expected"], **scores)


def listen(
    model: EditableModel,
    questions: Sequence[Question],
    before: Sequence[Heard] | None = None,
    *,
    max_new_tokens: int = 24,
    progress: str | None = None,
) -> list[Heard]:
    """Ask every question.

    `before` is what the unedited model said to the same questions: where a question has no expected answer, that is
    what is expected, and without `before` what the model says now. `progress` names a bar, if one is wanted.
    """
    said = free_answers(model, distinct_prompts(questions), max_new_tokens=max_new_tokens, progress=progress)
    expected = [
        question.expected or (before[place].said if before else said[question.prompt])
        for place, question in enumerate(questions)
    ]
    pairs = [(q.prompt, text) for q, text in zip(questions, expected, strict=True)]
    pairs += [(q.prompt, q.rival) for q in questions if q.rival]
    old = [heard.said for heard in before] if before else [said[q.prompt] for q in questions]
    pairs += [(q.prompt, text) for q, text in zip(questions, old, strict=True) if q.kind in UNMOVED]
    scores = {} if model.task == "classification" else forced_scores(model, pairs, progress=progress)
    return [
        Heard(
            said[q.prompt], text, scores.get((q.prompt, text)), scores.get((q.prompt, q.rival or "")),
            scores.get((q.prompt, earlier)),
        )
        for q, text, earlier in zip(questions, expected, old, strict=True)
    ]  # fmt: skip


def compared(questions: Sequence[Question], before: Sequence[Heard], now: Sequence[Heard]) -> list[Answer]:
    """What was heard before and now, question by question."""
    return [
        Answer(q, new.expected, new.said, old.said, new.forced, old.forced, new.rival, old.rival, new.kept)
        for q, old, new in zip(questions, before, now, strict=True)
    ]


def free_answers(
    model: EditableModel, prompts: Sequence[str], *, max_new_tokens: int = 24, progress: str | None = None
) -> dict[str, str]:
    """Greedy free generation by prompt. Prompts of like length share a batch: padding costs time."""
    return _batched(
        prompts, len, progress, lambda part: model.generate(part, max_new_tokens=max_new_tokens, batch_size=ROWS)
    )


def forced_scores(
    model: EditableModel, pairs: Iterable[tuple[str, str]], *, progress: str | None = None
) -> dict[tuple[str, str], Forced]:
    """Teacher-forced scores by (prompt, answer), the end token included; empty answers have none."""
    distinct = list(dict.fromkeys(pair for pair in pairs if pair[1].strip()))
    return _batched(distinct, lambda pair: len(pair[0]) + len(pair[1]), progress, lambda part: _forced(model, part))


@torch.no_grad()
def _forced(model: EditableModel, pairs: Sequence[tuple[str, str]]) -> list[Forced]:
    batch = model.encode([prompt for prompt, _ in pairs], [answer for _, answer in pairs])
    assert batch.gold is not None
    with model.evaluating():
        logits = model.forward(batch, keep=batch.keep)
    gold = batch.gold[:, -logits.shape[1] :]
    scored = gold != IGNORED
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), gold.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(gold)
    hits = (logits.argmax(-1) == gold) & scored
    columns = zip(losses.sum(1).tolist(), scored.sum(1).tolist(), hits.sum(1).tolist(), strict=True)
    return [Forced(round(nll, PLACES), tokens, right) for nll, tokens, right in columns]


def _batched(
    items: Sequence[T], size: Callable[[T], int], progress: str | None, work: Callable[[Sequence[T]], Sequence[V]]
) -> dict[T, V]:
    """`work` over batches of items of like size, by item."""
    ordered, found = sorted(items, key=size), {}
    with tqdm(total=len(ordered), desc=progress, unit="prompt", disable=progress is None, leave=False) as bar:
        for part in _parts(ordered):
            found |= dict(zip(part, work(part), strict=True))
            bar.update(len(part))
    return found


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), ROWS):
        yield items[start : start + ROWS]
