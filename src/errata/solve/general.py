"""A causal model's loss on general text, and its divergence from itself: how far an edit moves what it is not about.

Knows text and tokens, as stretches of one length. What bounds the loss, and what moves the model, is the caller's.
"""

from __future__ import annotations

import math
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
ROWS = 8  # stretches in one forward
DOUBT = 6.0  # standard errors by which a loss must be above a limit to need no more reading


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


class Prose:
    """Stretches of general text, and a model's loss on each at the time this was made.

    Attributes:
        start: the mean loss then, nats a token.
    """

    def __init__(self, model: EditableModel, text: Batch) -> None:
        """`text` as of `stretches`; the first token of each is read, not scored."""
        self.model, self.text = model, text
        self.before = self._losses(len(text))
        self.start = float(self.before.mean())

    def loss(self, limit: float = math.inf) -> float:
        """The mean loss as the model is now. Reads no further once that is above `limit` beyond doubt: then it is an
        estimate by the stretches read so far, from their rises, which are far more alike than their losses."""
        read = torch.empty(0, dtype=torch.float64)
        while len(read) < len(self.text):
            read = torch.cat([read, self._losses(ROWS, len(read))])
            rises = read - self.before[: len(read)]
            estimate = self.start + float(rises.mean())
            if len(read) > 1 and estimate - DOUBT * float(rises.std()) / math.sqrt(len(read)) > limit:
                break
        return estimate

    @torch.no_grad()
    def _losses(self, count: int, first: int = 0) -> Tensor:
        """(n,) of at most `count` stretches from the `first` on, `ROWS` in one forward."""
        found = []
        with self.model.evaluating():
            for start in range(first, min(first + count, len(self.text)), ROWS):
                part = self.text.rows(torch.arange(start, min(start + ROWS, len(self.text))))
                logits = self.model.forward(part)[:, :-1].float()
                losses = functional.cross_entropy(logits.transpose(1, 2), part.input_ids[:, 1:], reduction="none")
                found.append(losses.double().mean(1).cpu())
        return torch.cat(found)


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
