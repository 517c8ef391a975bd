"""General text and long continuations of a model, now and without its patches, and how far its weights have moved.

Knows causal models and the patches on them; what the numbers are worth is the metrics' business. A model that is not
causal has no text of its own to score: it gives no `Text` and no `Continuation`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.evaluate.evidence import Continuation, Moved, Text
from errata.evaluate.questions import Question
from errata.evaluate.sampling import continuations
from errata.lab.recipes.corpus import prose
from errata.models import EditableModel
from errata.models.losses import IGNORED
from errata.patches.original import patches_off
from errata.patches.weights import attached_patches, parameter_view
from errata.prompts import identity

STRETCH = 128  # tokens of a text, at most
HELD = 1 << 25  # logits of one model held at once: 128 MiB in float32
SHORTEST = 8  # words that make a text


def general_texts(model: EditableModel, count: int | None = None, path: str | Path | None = None) -> list[str]:
    """Stretches of general text, of at most 128 of the model's tokens and never across a paragraph.

    All of them, or `count` at even distances. By default from public-domain prose in the package that the lab's models
    were not trained on, else from a UTF-8 text file whose paragraphs are separated by blank lines; a stretch of fewer
    than 8 words is left out. Raises: BadConfig (the file cannot be read or has no text).
    """
    whole = prose("held_out") if path is None else _read(Path(path))
    stretches = (stretch for part in re.split(r"\n\s*\n", whole) for stretch in _stretches(model, part))
    found = [text for text in stretches if len(text.split()) >= SHORTEST]
    if not found:
        raise BadConfig(f"{path}: there is no paragraph of {SHORTEST} words or more; give running text")
    wanted = len(found) if count is None else min(count, len(found))
    return [found[place * len(found) // wanted] for place in range(wanted)]


class Reference:
    """Texts that the model reads now and without its patches, side by side.

    The unedited model is run beside the edited one, patches off: nothing has to be kept of it, and the divergence is
    over the whole vocabulary.
    """

    def __init__(self, model: EditableModel, texts: Sequence[str]) -> None:
        self.model = model
        self.texts = list(texts) if model.task == "causal" else []

    def score(self) -> list[Text]:
        """Loss of every text now and before, and KL(before || now) a token. The first token is read, not scored."""
        return [text for group in self._groups(self.texts) for text in self._compare(group)]

    def perplexity(self, texts: int = 8) -> float:
        """Of the model now, on the first few texts: exp(all nats / all tokens)."""
        read = [(nll, tokens) for group in self._groups(self.texts[:texts]) for nll, tokens in self._losses(group)]
        return math.exp(min(sum(nll for nll, _ in read) / sum(tokens for _, tokens in read), 700.0))

    def continued(self, questions: Sequence[Question], *, tokens: int = 100, seed: int = 0) -> list[Continuation]:
        """What the model writes at length after the questions' prompts, now and before."""
        if self.model.task != "causal":
            return []
        prompts = [question.prompt for question in questions]
        now = continuations(self.model, prompts, tokens=tokens, seed=seed)
        with patches_off(self.model):
            before = continuations(self.model, prompts, tokens=tokens, seed=seed)
        rows = zip(questions, now, before, strict=True)
        return [Continuation(q.edit or identity(q.prompt), q.prompt, said, old) for q, said, old in rows]

    def _groups(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Texts whose logits are held at once."""
        rows = max(1, HELD // (STRETCH * self.model.model.config.get_text_config().vocab_size))
        for start in range(0, len(texts), rows):
            yield list(texts[start : start + rows])

    def _compare(self, texts: list[str]) -> list[Text]:
        now, gold = self._log_probs(texts)
        with patches_off(self.model):
            before, _ = self._log_probs(texts)
        divergence = torch.nn.functional.kl_div(now, before, reduction="none", log_target=True).sum(-1)
        tokens = (gold != IGNORED).sum(1)
        kl = (divergence * (gold != IGNORED)).sum(1) / tokens
        columns = (_nats(now, gold), _nats(before, gold), tokens.tolist(), kl.clamp(min=0).tolist())
        return [Text(*row) for row in zip(*columns, strict=True)]

    def _losses(self, texts: list[str]) -> list[tuple[float, int]]:
        log_probs, gold = self._log_probs(texts)
        return list(zip(_nats(log_probs, gold), (gold != IGNORED).sum(1).tolist(), strict=True))

    @torch.no_grad()
    def _log_probs(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(B, S, V) float32 log-probabilities and the (B, S) ids they must give to."""
        batch = self.model.encode(texts)
        with self.model.evaluating():
            logits = self.model.forward(batch)[:, :-1]
        gold = batch.input_ids[:, 1:].masked_fill(batch.attention_mask[:, 1:] == 0, IGNORED)
        return logits.float().log_softmax(-1), gold


class Weights:
    """The parameters that patches change, held against their originals; needs no second model."""

    def __init__(self, model: EditableModel) -> None:
        self.model = model

    @torch.no_grad()
    def moved(self) -> list[Moved]:
        """Distance of every changed parameter from its original, and the original's norm."""
        names = {name for patch in attached_patches(self.model) for name in patch.deltas}
        now = {name: parameter_view(self.model.model, name).float().clone() for name in sorted(names)}
        with patches_off(self.model):
            return [self._distance(name, tensor) for name, tensor in now.items()]

    def _distance(self, name: str, now: Tensor) -> Moved:
        original = parameter_view(self.model.model, name).float()
        return Moved(name, float((now - original).norm()), float(original.norm()), original.numel())


def _nats(log_probs: Tensor, gold: Tensor) -> list[float]:
    """Summed negative log-likelihood of each row."""
    picked = log_probs.gather(2, gold.clamp(min=0)[..., None])[..., 0]
    return (-picked * (gold != IGNORED)).double().sum(1).tolist()


def _stretches(model: EditableModel, paragraph: str) -> Iterator[str]:
    """A paragraph in pieces of whole words, each of at most 128 tokens and within the model's context."""
    words, room = paragraph.split(), min(STRETCH, model.context or STRETCH)
    while words:
        piece = words[:room]
        while (length := _length(model, piece)) > room and len(piece) > 1:
            piece = piece[: max(1, min(len(piece) - 1, len(piece) * room // length))]
        yield " ".join(piece)
        words = words[len(piece) :]


def _length(model: EditableModel, words: Sequence[str]) -> int:
    return len(cast(list[int], model.tokenizer(" ".join(words), verbose=False)["input_ids"]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: cannot be read as UTF-8 text ({error}); check the path") from None
