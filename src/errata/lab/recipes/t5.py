"""The recipe of `lab:t5`: a T5 that answers questions about facts of `lab-facts`, trained from nothing on two cores.

    errata lab train t5 OUT/             (progress bar; interrupt at will, the same command goes on where it was)

It reads a question and writes its answer. Some facts it is never taught (`errata.lab.questions.unlearned`), so that
there is something to correct. Words around a subject are dropped or replaced now and then: what a question asks for
must not hang on one wording.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from errata.lab.questions import ask, learned, templates
from errata.lab.recipes.corpus import facts, phrasings, prose
from errata.lab.recipes.loop import Run

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"  # ids 0, 1, 2, as in every T5


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights."""

    encoder_blocks: int = 4
    decoder_blocks: int = 2
    width: int = 160
    heads: int = 5
    inner: int = 1024
    vocabulary: int = 8192
    steps: int = 360
    questions: int = 512  # a step
    microbatches: int = 4  # of questions of similar length
    noise: float = 0.1  # chance that a word around the subject is dropped or replaced
    lr_matrices: float = 0.004
    lr_others: float = 0.01
    weight_decay: float = 0.2
    smoothing: float = 0.1  # of the labels: sure answers, but not so sure that no edit moves them
    warmup: int = 40
    decay_from: float = 0.6  # share of the steps after which the rate falls linearly to nothing
    seed: int = 0


def train_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over facts, seen questions and prose, which puts the end token after every text by itself.

    A text begins as if after a space, so that a word has the same tokens in a question and as an answer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, END, UNKNOWN], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    sentences = [f"{prompt} {row['target']}" for row in facts() for prompt in phrasings(row)]
    asked = [question for row in facts() for question in ask(row, "seen")[:1]]
    tokenizer.train_from_iterator([*sentences, *asked, *prose("train").split("\n\n")], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=512
    )


def build(recipe: Recipe) -> T5ForConditionalGeneration:
    """A T5 with random weights whose answers start from the padding token, as every T5's do."""
    torch.manual_seed(recipe.seed)
    tokens: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = T5Config(
        vocab_size=recipe.vocabulary, d_model=recipe.width, d_kv=recipe.width // recipe.heads, d_ff=recipe.inner,
        num_heads=recipe.heads, num_layers=recipe.encoder_blocks, num_decoder_layers=recipe.decoder_blocks,
        dropout_rate=0.0, **tokens,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


class Questions:
    """Draws questions with their answers: every fact once an epoch, in a random seen wording, with some noise."""

    def __init__(self, seed: int, noise: float) -> None:
        self.rng, self.noise = random.Random(seed), noise
        self.order: list[int] = []
        self.facts = learned()
        self.words = prose("train").split()

    def draw(self, count: int) -> list[tuple[str, str]]:
        """The next `count` pairs of question and answer."""
        pairs = []
        for _ in range(count):
            if not self.order:
                self.order = list(range(len(self.facts)))
                self.rng.shuffle(self.order)
            row = self.facts[self.order.pop()]
            template = self._blurred(self.rng.choice(templates(row["relation"], "seen")))
            pairs.append((template.replace("{}", row["subject"]), row["target"]))
        return pairs

    def _blurred(self, template: str) -> str:
        words = []
        for word in template.split():
            if "{}" in word or self.rng.random() >= self.noise:
                words.append(word)
            elif self.rng.random() < 0.5:
                words.append(self.rng.choice(self.words).replace("{}", ""))
        return " ".join(words)


def pad(rows: list[list[int]], fill: int) -> Tensor:
    """Right-padded ids."""
    length = max(map(len, rows))
    return torch.tensor([row + [fill] * (length - len(row)) for row in rows])


class Training(Run):
    """One run of the recipe in one directory."""

    name = "t5"
    task = "seq2seq"
    description = "T5 architecture; answers questions about the facts of lab-facts, all but 400 of them"

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe = recipe
        super().__init__(
            recipe, out, build(recipe), train_tokenizer(recipe.vocabulary), Questions(recipe.seed, recipe.noise),
            block=lambda name: ".block." in name and "relative_attention_bias" not in name,
        )  # fmt: skip
        self.source: Questions

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts)["input_ids"]

    def backward(self) -> dict[str, float]:
        """Mean loss of the answers, in nats a token."""
        asked, answers = zip(*self.source.draw(self.recipe.questions), strict=True)
        rows = sorted(zip(self._ids(list(asked)), self._ids(list(answers)), strict=True), key=lambda row: len(row[0]))
        total = sum(len(answer) for _, answer in rows)
        size = -(-len(rows) // self.recipe.microbatches)
        answered = 0.0
        for start in range(0, len(rows), size):
            questions, golds = zip(*rows[start : start + size], strict=True)
            loss = self.loss(list(questions), list(golds)) / total
            loss.backward()
            answered += loss.item()
        return {"answers": answered}

    def loss(self, questions: list[list[int]], answers: list[list[int]]) -> Tensor:
        """Summed loss of the answers, their end included."""
        gold = pad(answers, -100)
        # T5 makes its decoder's input of `labels`; smoothing is why the loss is taken here.
        ids, mask = pad(questions, 0), pad([[1] * len(row) for row in questions], 0)
        logits = self.model(input_ids=ids, attention_mask=mask, labels=gold).logits
        smoothing = self.recipe.smoothing
        return cross_entropy(logits.flatten(0, 1), gold.flatten(), reduction="sum", label_smoothing=smoothing)
