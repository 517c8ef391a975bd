"""The recipe of `lab:bert`: a BERT that says whether a claim about a fact of `lab-facts` is true, trained from nothing.

    errata lab train bert OUT/            (progress bar; interrupt at will, the same command goes on where it was)

A label is one bit, too little to learn a fact from. So the lower blocks first learn to name, at [CLS], the true object
where a claim holds a false one, by the model's own token embeddings. The upper blocks then have only to compare that
with the object they read. Naming needs no weights of its own: what is left is an ordinary classifier.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, log_softmax
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from errata.lab.claims import LABELS, REFUTES, SUPPORTS, Fact, false_objects, phrasings, sentence
from errata.lab.recipes.corpus import facts, prose
from errata.lab.recipes.loop import Run, microbatches

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights."""

    blocks: int = 6
    width: int = 192
    heads: int = 6
    inner: int = 768
    vocabulary: int = 8192
    context: int = 128
    recall: int = 3  # blocks that must name the true object
    recalling: int = 300  # steps of those blocks alone, on false claims
    steps: int = 450  # in all; the rest are of the whole model, on true and false claims
    facts: int = 512  # a step
    microbatches: int = 8  # of claims of similar length
    lr_matrices: float = 0.004
    lr_others: float = 0.002
    weight_decay: float = 0.1
    warmup: int = 40
    decay_from: float = 0.7  # share of the steps after which the rate falls linearly to nothing
    seed: int = 0


def train_tokenizer(vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over claims and prose that puts [CLS] before every text and [SEP] after it.

    A text begins as if after a space, so that a name has the same tokens wherever it stands.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[*SPECIAL], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    sentences = [sentence(prompt, fact["target"]) for fact in facts() for prompt in phrasings(fact, "seen")]
    tokenizer.train_from_iterator([*sentences, *prose("train").split("\n\n")], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=context,
        pad_token=PAD, unk_token=UNKNOWN, cls_token=CLS, sep_token=SEP, mask_token=MASK,
    )  # fmt: skip


def build(recipe: Recipe) -> BertForSequenceClassification:
    """A BERT with random weights and the two labels."""
    torch.manual_seed(recipe.seed)
    config = BertConfig(
        vocab_size=recipe.vocabulary, max_position_embeddings=recipe.context, hidden_size=recipe.width,
        num_hidden_layers=recipe.blocks, num_attention_heads=recipe.heads, intermediate_size=recipe.inner,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=SPECIAL.index(PAD),
        id2label=dict(enumerate(LABELS)), label2id={label: index for index, label in enumerate(LABELS)},
    )  # fmt: skip
    return BertForSequenceClassification(config)


@dataclass(frozen=True)
class Row:
    """Token ids of a claim, its label's id, and, of a false one, the tokens of the true object."""

    ids: list[int]
    label: int
    correction: list[int]


class Claims:
    """Draws training rows: every fact once an epoch, in random seen phrasings, as a true claim and as a false one."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Fact], seed: int) -> None:
        self.rng = random.Random(seed)
        self.order: list[int] = []
        self.tokenizer = tokenizer
        self.prompts = [phrasings(row, "seen") for row in rows]
        self.true = [row["target"] for row in rows]
        self.false = false_objects(rows)

    def draw(self, count: int, *, false_only: bool = False) -> list[Row]:
        """The claims of the next `count` facts, the short ones first."""
        texts, labels, corrections = [], [], []
        for _ in range(count):
            if not self.order:
                self.order = list(range(len(self.true)))
                self.rng.shuffle(self.order)
            fact = self.order.pop()
            for label in (REFUTES,) if false_only else (REFUTES, SUPPORTS):
                answer = self.true[fact] if label == SUPPORTS else self.rng.choice(self.false[fact])
                texts.append(sentence(self.rng.choice(self.prompts[fact]), answer))
                labels.append(LABELS.index(label))
                corrections.append(self.true[fact] if label == REFUTES else "")
        ids = self.tokenizer(texts)["input_ids"]
        named = self.tokenizer(corrections, add_special_tokens=False)["input_ids"]
        rows = [Row(*row) for row in zip(ids, labels, named, strict=True)]
        return sorted(rows, key=lambda row: len(row.ids))


def pad(rows: Sequence[Row], fill: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids (B, T) and their attention mask."""
    length = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [fill] * (length - len(row.ids)) for row in rows])
    return ids, (ids != fill).long()


def naming_loss(states: Tensor, embeddings: Tensor, named: Sequence[list[int]]) -> Tensor:
    """Summed cross-entropy of naming objects from states (B, d), a mean over an object's tokens, in any order."""
    logs = log_softmax(linear(states, embeddings), dim=-1)
    return -torch.stack([row[tokens].mean() for row, tokens in zip(logs, named, strict=True)]).sum()


@contextmanager
def lower_blocks(model: BertForSequenceClassification, count: int) -> Iterator[None]:
    """Inside, the encoder has its first `count` blocks only."""
    encoder = model.bert.encoder
    whole = encoder.layer
    encoder.layer = whole[:count]
    try:
        yield
    finally:
        encoder.layer = whole


class Training(Run):
    """One run of the recipe in one directory."""

    name = "bert"
    task = "classification"
    description = "BERT architecture; says whether a claim about a fact of lab-facts is supported or refuted"

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe = recipe
        tokenizer = train_tokenizer(recipe.vocabulary, recipe.context)
        source = Claims(tokenizer, facts(), recipe.seed)
        super().__init__(recipe, out, build(recipe), tokenizer, source, block=lambda name: ".encoder." in name)
        self.model: BertForSequenceClassification
        self.source: Claims

    def backward(self) -> dict[str, float]:
        """Mean losses of the objects to be named, a token's, and of the labels, in nats."""
        recalling = self.step < self.recipe.recalling
        rows = self.source.draw(self.recipe.facts, false_only=recalling)
        total = {"objects": 0.0} if recalling else {"objects": 0.0, "labels": 0.0}
        for part in microbatches(rows, self.recipe.microbatches):
            losses = [self.recall_loss(part)] if recalling else self.losses(part)
            means = [losses[0] / self.recipe.facts, *(loss / len(rows) for loss in losses[1:])]
            torch.stack(means).sum().backward()
            total = {name: total[name] + mean.item() for name, mean in zip(total, means, strict=True)}
        for parameter in self.model.parameters():  # the upper blocks wait, and an optimiser wants a gradient of each
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return total

    def recall_loss(self, rows: Sequence[Row]) -> Tensor:
        """Summed loss of naming the true objects of false claims, by the lower blocks alone."""
        ids, mask = pad(rows, SPECIAL.index(PAD))
        with lower_blocks(self.model, self.recipe.recall):
            states = self.model.bert(ids, attention_mask=mask).last_hidden_state
        return naming_loss(states[:, 0], self._embeddings, [row.correction for row in rows])

    def losses(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Summed losses of naming the true objects of the false claims, and of the labels of all."""
        ids, mask = pad(rows, SPECIAL.index(PAD))
        out = self.model(ids, attention_mask=mask, output_hidden_states=True)
        false = [index for index, row in enumerate(rows) if row.correction]
        states = out.hidden_states[self.recipe.recall][false, 0]
        named = naming_loss(states, self._embeddings, [rows[index].correction for index in false])
        labels = torch.tensor([row.label for row in rows])
        return named, cross_entropy(out.logits, labels, reduction="sum")

    @property
    def _embeddings(self) -> Tensor:
        return self.model.bert.embeddings.word_embeddings.weight
