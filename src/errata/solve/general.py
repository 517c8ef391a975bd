"""A causal model's loss on general text, and its divergence from itself: how far an edit moves what it is not about.

Knows text and tokens, as stretches of one length. What bounds the loss, and what moves the model, is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from errata.errors import BadConfig
from errata.models import Batch, EditableModel
from errata.models.encoding import prompt_ids
from errata.statistics import corpus_for, packaged_prose
from errata.statistics.collecting import packed

STRETCH = 128  # tokens that are read together, where the model can read so many


def stretches(model: EditableModel, corpus: str | None, count: int, skip: int = 0) -> Batch:
    """`count` stretches of general text after the first `skip`, each as long as the others: (count, 128) tokens.

    `corpus` is a text file or a data set; by default it is the prose in the package, in which no fact is asked for.

    Raises: BadConfig (the model does not write text, the corpus cannot be read or is too short).
    """
    if model.task != "causal":
        raise BadConfig(f"{model.name} writes no text, and so has no loss on general text; leave out ball and kl")
    rows = []
    for row in _rows(model, corpus):
        rows.append(row)
        if len(rows) == skip + count:
            return packed(model, rows[skip:])
    raise BadConfig(
        f"corpus '{corpus or 'prose in the package'}' has {len(rows)} stretches of {STRETCH} tokens, and "
        f"{skip + count} are needed; name a longer text"
    )


def _rows(model: EditableModel, corpus: str | None) -> Iterator[list[int]]:
    (head,) = prompt_ids(model, [""])
    size = min(STRETCH, model.context or STRETCH) - len(head)
    for text in (corpus_for(model, corpus) if corpus else packaged_prose()).texts:
        ids = prompt_ids(model, [text])[0][len(head) :]
        for start in range(0, len(ids) - size + 1, size):
            yield [*head, *ids[start : start + size]]


@torch.no_grad()
def loss_on(model: EditableModel, text: Batch, rows: int = 8) -> float:
    """Mean nats a token of stretches, `rows` in one forward; the first token of each is read, not scored."""
    total = 0.0
    with model.evaluating():
        for start in range(0, len(text), rows):
            part = text.rows(torch.arange(start, min(start + rows, len(text))))
            logits = model.forward(part)[:, :-1].float()
            gold = part.input_ids[:, 1:].flatten()
            total += float(functional.cross_entropy(logits.flatten(0, 1), gold, reduction="sum"))
    return total / text.input_ids[:, 1:].numel()


class Tether:
    """weight * KL(p_0 || p) a token, on another stretch at every call: what holds a model to what it was.

    p_0 is the model at the time the tether is made.
    """

    def __init__(self, model: EditableModel, weight: float, text: Batch, seed: int) -> None:
        self.model, self.weight, self.text = model, weight, text
        with torch.no_grad(), model.evaluating():
            self.before = [self._log_chances(row) for row in range(len(text))]
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self) -> Tensor:
        row = int(torch.randint(len(self.text), (), generator=self.generator))
        divergence = functional.kl_div(self._log_chances(row), self.before[row], reduction="none", log_target=True)
        return self.weight * divergence.sum(-1).mean()

    def _log_chances(self, row: int) -> Tensor:
        return self.model.forward(self.text.rows(torch.tensor([row]))).float().log_softmax(-1)
