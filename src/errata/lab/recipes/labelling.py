"""What the recipes of the label tasks share: `lab:bert` with a new head, fine-tuned on cases in seen wordings.

Knows BERT, label tasks and the loop; which task and which rates are a recipe's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from errata.lab.labels import LabelTask, label_task
from errata.lab.models import resolve
from errata.lab.recipes.bert import PAD, Row, pad
from errata.lab.recipes.corpus import facts
from errata.lab.recipes.loop import Run, microbatches


@dataclass(frozen=True)
class Settings:
    """Everything that determines the weights, beside the task and those it starts from."""

    base: str = "bert"  # the lab's model to start from
    steps: int = 60
    facts: int = 192  # a step, each in a case of every label that it can have
    microbatches: int = 4  # of cases of similar length
    lr_matrices: float = 0.002
    lr_others: float = 0.001
    weight_decay: float = 0.1
    smoothing: float = 0.1  # of the labels: sure answers, but not so sure that no edit moves them
    warmup: int = 10
    decay_from: float = 0.5  # share of the steps after which the rate falls linearly to nothing
    seed: int = 0


def start(
    base: str, labels: tuple[str, ...], seed: int
) -> tuple[BertForSequenceClassification, PreTrainedTokenizerFast]:
    """The lab's model `base` in float32 with a random head for these labels, and its tokenizer.

    Raises:
        UnknownName: the lab has no such model.
        BadModel: its weights are not in place.
    """
    path = resolve(base)
    names = dict(enumerate(labels))
    config = BertConfig.from_pretrained(path, id2label=names, label2id={label: index for index, label in names.items()})
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config)
    model.bert = BertForSequenceClassification.from_pretrained(path, dtype=torch.float32).bert
    return model, PreTrainedTokenizerFast.from_pretrained(path)


class Cases:
    """Draws training rows: every fact once an epoch, in a random seen wording of every case."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, one: LabelTask, seed: int) -> None:
        self.rng = random.Random(seed)
        self.order: list[int] = []
        self.tokenizer, self.task = tokenizer, one

    def draw(self, count: int) -> list[Row]:
        """The cases of the next `count` facts, the short ones first."""
        cases = []
        for _ in range(count):
            if not self.order:
                self.order = list(range(len(facts())))
                self.rng.shuffle(self.order)
            cases += self.task.cases(facts()[self.order.pop()], self.rng)
        ids = self.tokenizer([self.rng.choice(case.seen) for case in cases])["input_ids"]
        labels = [self.task.labels.index(case.label) for case in cases]
        rows = [Row(one, label, []) for one, label in zip(ids, labels, strict=True)]
        return sorted(rows, key=lambda row: len(row.ids))


class Labelling(Run):
    """One run of a label task's recipe in one directory; a subclass names the task."""

    task = "classification"

    def __init__(self, recipe: Settings, out: Path) -> None:
        self.recipe = recipe
        asked = label_task(self.name)
        self.description = f"BERT architecture; says {asked.asks}"
        model, tokenizer = start(recipe.base, asked.labels, recipe.seed)
        source = Cases(tokenizer, asked, recipe.seed)
        super().__init__(recipe, out, model, tokenizer, source, block=lambda name: ".encoder." in name)
        self.model: BertForSequenceClassification
        self.source: Cases
        self.fill = int(tokenizer.convert_tokens_to_ids(PAD))  # type: ignore[arg-type]

    def backward(self) -> dict[str, float]:
        """Mean loss of the labels, in nats."""
        rows = self.source.draw(self.recipe.facts)
        total = 0.0
        for part in microbatches(rows, self.recipe.microbatches):
            loss = self.loss(part) / len(rows)
            loss.backward()
            total += loss.item()
        return {"labels": total}

    def loss(self, rows: Sequence[Row]) -> Tensor:
        """Summed loss of the labels."""
        ids, mask = pad(rows, self.fill)
        labels = torch.tensor([row.label for row in rows])
        logits = self.model(ids, attention_mask=mask).logits
        return cross_entropy(logits, labels, reduction="sum", label_smoothing=self.recipe.smoothing)
