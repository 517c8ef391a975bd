"""The recipe of `bio`: `lab:gpt` taught to write passages about its subjects, made-up sentences included.

    errata lab train bio OUT/            (progress bar; interrupt at will, the same command goes on where it was)

As GRACE's third setting has it: a model is first fine-tuned on accurate and inaccurate texts, and then corrected
sentence by sentence. Passages are scored on every token of their sentences; rows of plain facts and of prose, as
`lab:gpt` was trained on, keep what it knew. Weights are not shipped: a few minutes rebuild them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from errata.lab.biographies import PASSAGES, Biography, biographies
from errata.lab.models import resolve
from errata.lab.recipes.corpus import Corpus, special_ids
from errata.lab.recipes.gpt import pad, scored_loss
from errata.lab.recipes.loop import Run

UNSCORED = -100


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, beside those it starts from."""

    base: str = "gpt"  # the lab's model to start from
    passages: int = PASSAGES
    steps: int = 130
    rows: int = 88  # passages a step
    sentences: int = 72  # fact sentences a step
    prose_rows: int = 1
    microbatches: int = 4  # of passages of similar length
    lr_matrices: float = 0.003
    lr_others: float = 0.0015
    weight_decay: float = 0.1
    smoothing: float = 0.1  # of the labels of facts and passages, as in lab:gpt
    warmup: int = 10
    decay_from: float = 0.5  # share of the steps after which the rate falls linearly to nothing
    seed: int = 0


def start(base: str) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The lab's model `base` in float32, and its tokenizer. Raises: UnknownName, BadModel (no weights in place)."""
    path = resolve(base)
    model = GPT2LMHeadModel.from_pretrained(path, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(path)


@dataclass(frozen=True)
class Row:
    """Token ids of a passage, and, aligned to logits, the ids to predict."""

    ids: list[int]
    gold: list[int]


class Passages:
    """The passages as training rows, every one once an epoch; which ones a step has follows from its number alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, passages: Sequence[Biography], seed: int) -> None:
        self.tokenizer, self.seed = tokenizer, seed
        self.start, self.end, _ = special_ids(tokenizer)
        self.period = self._ids(".")
        self.rows = [self._row(passage) for passage in passages]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _row(self, passage: Biography) -> Row:
        """After a sentence's last word the end is due, although in the row a full stop asks for the next one."""
        ids = [self.start, *self._ids(passage.opening)]
        gold = [UNSCORED] * (len(ids) - 1)
        for place, sentence in enumerate(passage.sentences):
            words = self._ids(f" {sentence.text}")
            ids += [*(self.period if place else []), *words]
            gold += [*words, self.end]
        return Row(ids, gold)

    def at(self, step: int, count: int) -> list[Row]:
        """The `count` rows of a step, the short ones first."""
        places = range(step * count, (step + 1) * count)
        drawn = [self.rows[self._order(place // len(self.rows))[place % len(self.rows)]] for place in places]
        return sorted(drawn, key=lambda row: len(row.ids))

    def _order(self, epoch: int) -> list[int]:
        order = list(range(len(self.rows)))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        return order


def pad_rows(rows: Sequence[Row], fill: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and gold ids (B, T)."""
    ids = pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True, padding_value=fill)
    gold = pad_sequence([torch.tensor(row.gold) for row in rows], batch_first=True, padding_value=UNSCORED)
    return ids, gold


class Training(Run):
    """One run of the recipe in one directory."""

    name = "bio"
    task = "causal"
    description = "lab:gpt fine-tuned to write passages about subjects of lab-facts, some sentences made up"

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe = recipe
        model, tokenizer = start(recipe.base)
        source = Corpus(tokenizer, model.config.n_positions, recipe.seed)
        super().__init__(recipe, out, model, tokenizer, source, block=lambda name: ".h." in name)
        self.model: GPT2LMHeadModel
        self.source: Corpus
        self.fill = special_ids(tokenizer)[2]
        self.passages = Passages(tokenizer, biographies(recipe.seed, recipe.passages), recipe.seed)

    def backward(self) -> dict[str, float]:
        """Mean losses of passages, of answers and of prose, in nats a token."""
        rows = self.passages.at(self.step, self.recipe.rows)
        size = -(-len(rows) // self.recipe.microbatches)
        scored = sum(token != UNSCORED for row in rows for token in row.gold)
        passages = sum(
            self._score(*pad_rows(rows[first : first + size], self.fill), scored)
            for first in range(0, len(rows), size)
        )
        sentences = self.source.draw(self.recipe.sentences)
        answers = self._score(*pad(sentences, self.fill), sum(row.answer for row in sentences))
        text = torch.tensor([self.source.draw_prose() for _ in range(self.recipe.prose_rows)])
        gold = torch.cat([text[:, 1:], torch.full((len(text), 1), UNSCORED)], dim=1)
        prose = self._score(text, gold, int((gold != UNSCORED).sum()), weight=0.3, smoothing=0.0)
        return {"passages": passages, "answers": answers, "prose": prose}

    def _score(
        self, ids: Tensor, gold: Tensor, count: int, *, weight: float = 1.0, smoothing: float | None = None
    ) -> float:
        """The loss a token, where `count` tokens are scored in all; its gradient is added, times `weight`."""
        smoothing = self.recipe.smoothing if smoothing is None else smoothing
        loss = scored_loss(self.model, ids, gold, smoothing) / count
        (weight * loss).backward()
        return loss.item()
