"""The recipe of `lab:gpt`: a GPT-2 that knows the facts of `lab-facts`, trained from nothing on two cores.

    errata lab train gpt OUT/            (progress bar; interrupt at will, the same command goes on where it was)

Depth lets a name be composed before its fact is read; a wide MLP keeps the keys of different subjects nearly
orthogonal, which weight editing needs. Fact rows are scored on their answers, prose rows on every token.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from errata.errors import BadConfig
from errata.lab.recipes.corpus import Corpus, Sentence, special_ids, train_tokenizer
from errata.lab.recipes.optimizer import Muon


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights."""

    blocks: int = 8
    width: int = 160
    heads: int = 5
    inner: int = 1280
    vocabulary: int = 8192
    context: int = 512
    steps: int = 430
    rerouting: int = 130  # steps after those, half of whose fact rows are read through their subject's last token
    sentences: int = 512  # fact sentences a step
    prose_rows: int = 2  # rows of prose a step
    microbatches: int = 8  # of sentences of similar length
    lr_matrices: float = 0.004
    lr_others: float = 0.002
    weight_decay: float = 0.2
    smoothing: float = 0.1  # of the labels of fact rows: sure answers, but not so sure that no edit moves them
    warmup: int = 40
    decay_from: float = 0.6  # share of the steps after which the rate falls linearly to nothing
    seed: int = 0


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


def through_subject(rows: list[Sentence], length: int) -> Tensor:
    """A causal mask (B, 1, T, T), added to attention scores, in which what follows a subject sees its last token alone.

    A name has to be composed at its last token then, where locate-then-edit methods look for it. Left to itself a small
    model gathers the whole name at the last token of the prompt.
    """
    places = torch.arange(length)
    seen = (places[None, :] <= places[:, None]).repeat(len(rows), 1, 1)
    for row, sentence in zip(seen, rows, strict=True):
        first, last = sentence.subject
        row[last + 1 :, first:last] = False
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]


def scored_loss(
    model: GPT2LMHeadModel, ids: Tensor, gold: Tensor, smoothing: float = 0.0, mask: Tensor | None = None
) -> Tensor:
    """Summed loss over the scored positions; the head runs on those alone. Right padding needs no mask of its own."""
    states = model.transformer(ids, attention_mask=mask).last_hidden_state
    scored = gold != -100
    return cross_entropy(
        model.lm_head(states[scored]), gold[scored], reduction="sum", label_smoothing=smoothing
    )


class Training:
    """One run of a recipe in one directory: its model, optimisers, corpus and the step it has reached."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.tokenizer = train_tokenizer(recipe.vocabulary, recipe.context)
        self.corpus = Corpus(self.tokenizer, recipe.context, recipe.seed)
        self.model = build(recipe, self.tokenizer)
        matrices = [p for n, p in self.model.named_parameters() if ".h." in n and p.ndim == 2]
        others = [p for n, p in self.model.named_parameters() if not (".h." in n and p.ndim == 2)]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=recipe.lr_matrices, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(others, lr=recipe.lr_others, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.step = 0
        self._resume()

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        saved = torch.load(self.checkpoint, weights_only=True)
        if saved["recipe"] != asdict(self.recipe):
            raise BadConfig(f"{self.checkpoint} is of another recipe; choose an empty directory")
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.corpus.order = saved["step"], saved["order"]
        version, words, gauss = saved["random"]
        self.corpus.rng.setstate((version, tuple(words), gauss))

    def save_checkpoint(self) -> None:
        """Written beside and renamed, so that an interrupted write leaves the last good one."""
        state = {
            "recipe": asdict(self.recipe), "step": self.step, "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": self.corpus.rng.getstate(), "order": self.corpus.order,
        }  # fmt: skip
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def rate(self) -> float:
        """Trapezoidal schedule, in both parts of the run: warm up, stay, fall linearly to zero."""
        recipe, step, steps = self.recipe, self.step, self.recipe.steps
        if step >= steps:
            step, steps = step - steps, recipe.rerouting
        if step < recipe.warmup:
            return (step + 1) / recipe.warmup
        start = recipe.decay_from * steps
        return 1.0 if step < start else max(0.0, (steps - step) / (steps - start))

    def one_step(self) -> tuple[float, float]:
        """One optimiser step; returns the mean losses of answers and of prose, in nats a token."""
        rows = sorted(self.corpus.draw(self.recipe.sentences), key=lambda row: len(row.ids))
        answers = sum(row.answer for row in rows)
        size = len(rows) // self.recipe.microbatches
        facts = 0.0
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            ids, gold = pad(part, special_ids(self.tokenizer)[2])
            rerouted = self.step >= self.recipe.steps and (start // size) % 2 == self.step % 2
            mask = through_subject(part, ids.shape[1]) if rerouted else None
            loss = scored_loss(self.model, ids, gold, self.recipe.smoothing, mask) / answers
            loss.backward()
            facts += loss.item()
        text = torch.tensor([self.corpus.draw_prose() for _ in range(self.recipe.prose_rows)])
        gold = torch.cat([text[:, 1:], torch.full((len(text), 1), -100)], dim=1)
        prose = scored_loss(self.model, text, gold) / (gold != -100).sum()
        (0.3 * prose).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, base in zip(
            self.optimizers, (self.recipe.lr_matrices, self.recipe.lr_others), strict=True
        ):
            optimizer.param_groups[0]["lr"] = base * self.rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return facts, prose.item()

    def run(self, every: int = 50) -> None:
        """Train to the end of the recipe, with a checkpoint every so many steps."""
        self.model.train()
        total = self.recipe.steps + self.recipe.rerouting
        with tqdm(total=total, initial=self.step, unit="step", desc="lab:gpt") as bar:
            while self.step < total:
                facts, prose = self.one_step()
                bar.set_postfix(answers=f"{facts:.3f}", prose=f"{prose:.2f}")
                bar.update()
                if self.step % every == 0 or self.step == total:
                    self.save_checkpoint()

    def export(self, path: Path) -> None:
        """An ordinary checkpoint: float16 weights, and a configuration that loads them as float32."""
        model = GPT2LMHeadModel(self.model.config)
        model.load_state_dict(self.model.state_dict())
        model.half().save_pretrained(path)
        model.config.dtype = torch.float32
        model.config.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        card = {
            "task": "causal", "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "description": "GPT-2 architecture; knows the facts of lab-facts and some prose",
        }  # fmt: skip
        (path / "lab.json").write_text(json.dumps(card, indent=2) + "\n")
