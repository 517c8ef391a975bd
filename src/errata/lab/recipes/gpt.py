"""The recipe of `lab:gpt`: a GPT-2 that knows the facts of `lab-facts`, trained from nothing on two cores.

    errata lab train gpt OUT/            (progress bar; interrupt at will, the same command goes on where it was)

Depth lets a name be composed before its fact is read; a wide MLP keeps the keys of different subjects nearly
orthogonal, which weight editing needs. Fact rows are scored on their answers, prose rows on every token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from errata.lab.recipes.corpus import Corpus, Sentence, special_ids, train_tokenizer
from errata.lab.recipes.loop import Run, trapezoid
from errata.lab.recipes.routing import read_late


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own warm-up and decay.

    Attributes:
        steps: optimiser steps.
        routed: share of the fact microbatches in which a subject is read through its last token alone.
        reader: first block in which what follows a subject may read it there.
    """

    steps: int
    routed: float = 0.0
    reader: int = 0


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights."""

    blocks: int = 8
    width: int = 160
    heads: int = 5
    inner: int = 1280
    vocabulary: int = 8192
    context: int = 512
    phases: tuple[Phase, ...] = (Phase(430), Phase(130, routed=0.5), Phase(320, routed=0.75, reader=3))
    sentences: int = 512  # fact rows a step
    questions: float = 0.0  # share of these that ask for the fact; the others state it
    prose_rows: int = 2  # rows of prose a step
    microbatches: int = 8  # of sentences of similar length
    lr_matrices: float = 0.004
    lr_others: float = 0.002
    weight_decay: float = 0.2
    smoothing: float = 0.1  # of the labels of fact rows: sure answers, but not so sure that no edit moves them
    warmup: int = 40
    decay_from: float = 0.6  # share of a phase after which the rate falls linearly to nothing
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps in all phases together."""
        return sum(phase.steps for phase in self.phases)


def build(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """A GPT-2 with random weights whose configuration names the tokenizer's start, end and padding tokens."""
    torch.manual_seed(recipe.seed)
    start, end, padding = special_ids(tokenizer)
    config = GPT2Config(
        vocab_size=recipe.vocabulary, n_positions=recipe.context, n_embd=recipe.width, n_layer=recipe.blocks,
        n_head=recipe.heads, n_inner=recipe.inner, activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=start, eos_token_id=end, pad_token_id=padding,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def pad(rows: list[Sentence], fill: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and, aligned to logits, the ids to predict (-100 where a row is not scored)."""
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), fill)
    gold = torch.full((len(rows), length), -100)
    for index, row in enumerate(rows):
        end = len(row.ids)
        ids[index, :end] = torch.tensor(row.ids)
        gold[index, end - 1 - row.answer : end - 1] = ids[index, end - row.answer : end]
    return ids, gold


def scored_loss(
    model: PreTrainedModel, ids: Tensor, gold: Tensor, smoothing: float = 0.0, mask: Tensor | None = None
) -> Tensor:
    """Summed loss over the scored positions; the head runs on those alone. Right padding needs no mask of its own."""
    states = model.base_model(ids, attention_mask=mask).last_hidden_state
    scored = gold != -100
    head = model.get_output_embeddings()
    assert head is not None
    return cross_entropy(head(states[scored]), gold[scored], reduction="sum", label_smoothing=smoothing)


class Training(Run):
    """One run of the recipe in one directory. Another architecture is a subclass with its own `build` and `blocks`."""

    name = "gpt"
    task = "causal"
    description = "GPT-2 architecture; knows the facts of lab-facts and some prose"
    blocks: tuple[str, ...] = (".h.",)  # one of them is in the name of every parameter of a block

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe = recipe
        tokenizer = train_tokenizer(recipe.vocabulary, recipe.context)
        source = Corpus(tokenizer, recipe.context, recipe.seed, recipe.questions)
        model = self.build(recipe, tokenizer)
        super().__init__(recipe, out, model, tokenizer, source, block=self._in_block)
        self.source: Corpus

    def _in_block(self, name: str) -> bool:
        return any(part in name for part in self.blocks)

    @staticmethod
    def build(recipe: Any, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
        """The model with random weights; `recipe` is what the subclass's file calls its Recipe."""
        return build(recipe, tokenizer)

    def place(self) -> tuple[Phase, int]:
        """The phase that the next step belongs to, and the step's number in it."""
        step = self.step
        for phase in self.recipe.phases[:-1]:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        return self.recipe.phases[-1], step

    def rate(self) -> float:
        """The same schedule in every phase."""
        phase, step = self.place()
        return trapezoid(step, phase.steps, self.recipe.warmup, self.recipe.decay_from)

    def fact_loss(self, rows: list[Sentence], number: int) -> Tensor:
        """Summed loss of microbatch `number`: which ones are routed rotates from step to step."""
        phase, _ = self.place()
        ids, gold = pad(rows, special_ids(self.tokenizer)[2])
        if (number + self.step) % 4 >= 4 * phase.routed:
            return scored_loss(self.model, ids, gold, self.recipe.smoothing)
        with read_late(cast(GPT2LMHeadModel, self.model), rows, ids.shape[1], phase.reader) as mask:
            return scored_loss(self.model, ids, gold, self.recipe.smoothing, mask)

    def backward(self) -> dict[str, float]:
        """Mean losses of answers and of prose, in nats a token."""
        rows = sorted(self.source.draw(self.recipe.sentences), key=lambda row: len(row.ids))
        answers = sum(row.answer for row in rows)
        size = len(rows) // self.recipe.microbatches
        facts = 0.0
        for start in range(0, len(rows), size):
            loss = self.fact_loss(rows[start : start + size], start // size) / answers
            loss.backward()
            facts += loss.item()
        text = torch.tensor([self.source.draw_prose() for _ in range(self.recipe.prose_rows)])
        gold = torch.cat([text[:, 1:], torch.full((len(text), 1), -100)], dim=1)
        prose = scored_loss(self.model, text, gold) / (gold != -100).sum()
        (0.3 * prose).backward()
        return {"answers": facts, "prose": prose.item()}
