"""The text that the lab's models are trained on: facts, told or asked, one to a row, and rows of prose.

Reads only data in the package. Knows tokenizers and token ids, and nothing of models or optimisers.
"""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from errata.lab.questions import ask

DATA = Path(__file__).parents[1] / "data"
END, PAD = "<|endoftext|>", "<|pad|>"
PREFIXED = (
    0.2  # share of fact sentences that follow some other text: prompts are not always read from position 0
)


def _text(name: str) -> str:
    return gzip.decompress((DATA / name).read_bytes()).decode("utf-8")


@cache
def facts() -> list[dict[str, Any]]:
    """The rows of `lab-facts`."""
    return [json.loads(line) for line in _text("lab-facts.jsonl.gz").splitlines()]


def prose(part: str) -> str:
    """CC0 prose of the package; `part` is "train" or "held_out"."""
    return _text(f"prose-{part}.txt.gz")


def train_tokenizer(vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over facts and prose, which puts the start token before every text by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END, PAD], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    sentences = [f"{prompt} {row['target']}" for row in facts() for prompt in phrasings(row)]
    tokenizer.train_from_iterator([*sentences, *prose("train").split("\n\n")], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        unk_token=END,
        pad_token=PAD,
        model_max_length=context,
    )


def special_ids(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int, int]:
    """Ids of the start, end and padding tokens."""
    start, end, pad = (tokenizer.convert_tokens_to_ids(token) for token in (END, END, PAD))
    assert isinstance(start, int)
    assert isinstance(end, int)
    assert isinstance(pad, int)
    return start, end, pad


def phrasings(row: dict[str, Any]) -> list[str]:
    """The prompts that training may use for this fact."""
    return [row["prompt"], *row["rephrases_seen"]]


@dataclass(frozen=True)
class Sentence:
    """Token ids of one row; how many of them, at the end, are the answer with its end token; and the subject's first
    and last token."""

    ids: list[int]
    answer: int
    subject: tuple[int, int]


@dataclass(frozen=True)
class Phrasing:
    """Ids of a prompt at a text's start (0) and after other text (1), the subject's place in each, and the answer."""

    prompt: tuple[list[int], list[int]]
    subject: tuple[tuple[int, int], tuple[int, int]]
    answer: list[int]


def _span(text: Encoding, start: int, length: int) -> tuple[int, int]:
    """First and last token of so many characters."""
    first, last = text.char_to_token(start), text.char_to_token(start + length - 1)
    assert first is not None  # a byte-level vocabulary covers every character
    assert last is not None
    return first, last


class Corpus:
    """Draws training rows: every fact once an epoch, in a random phrasing, some after a stretch of other text.

    A share `questions` of the facts is asked rather than told: a seen question and its answer.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, context: int, seed: int, questions: float = 0.0
    ) -> None:
        self.rng, self.questions = random.Random(seed), questions
        self.start, self.end, _ = special_ids(tokenizer)
        self.tokenizer, self.context = tokenizer, context
        self.sentences = [self._phrasings(phrasings(row), row) for row in facts()]
        self.prose = self._ids(prose("train"))
        self.period = self._ids(".")
        self.order: list[int] = []

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def _phrasings(self, prompts: list[str], row: dict[str, Any]) -> list[Phrasing]:
        texts = [*prompts, *(" " + prompt for prompt in prompts), " " + row["target"]]
        # In one call: a tokenizer's own work is little beside what surrounds it.
        encoded = self.tokenizer(texts, add_special_tokens=False).encodings or []
        answer, length, found = [*encoded[-1].ids, self.end], len(row["subject"]), []
        for prompt, first, later in zip(prompts, encoded, encoded[len(prompts) :], strict=False):
            start = prompt.index(row["subject"])
            spans = (_span(first, start, length), _span(later, start + 1, length))
            found.append(Phrasing((first.ids, later.ids), spans, answer))
        return found

    def _other_text(self) -> list[int]:
        if self.rng.random() < 0.5:
            other = self.rng.choice(self.rng.choice(self.sentences))
            return [*other.prompt[0], *other.answer[:-1], *self.period]
        start = self.rng.randrange(len(self.prose) - 12)
        return [*self.prose[start : start + self.rng.randint(2, 11)], *self.period]

    def draw(self, count: int) -> list[Sentence]:
        """The next `count` fact sentences."""
        rows = []
        for _ in range(count):
            if not self.order:
                self.order = list(range(len(self.sentences)))
                self.rng.shuffle(self.order)
            phrasing = self._one_way(self.order.pop())
            later = self.rng.random() < PREFIXED
            before = [self.start, *(self._other_text() if later else [])]
            first, last = (len(before) + place for place in phrasing.subject[later])
            ids = [*before, *phrasing.prompt[later], *phrasing.answer]
            rows.append(Sentence(ids, len(phrasing.answer), (first, last)))
        return rows

    def _one_way(self, fact: int) -> Phrasing:
        if self.questions and self.rng.random() < self.questions:
            row = facts()[fact]
            return self._phrasings([self.rng.choice(ask(row, "seen"))], row)[0]
        return self.rng.choice(self.sentences[fact])

    def draw_prose(self) -> list[int]:
        """One row of prose that fills the context."""
        start = self.rng.randrange(len(self.prose) - self.context)
        return [self.start, *self.prose[start : start + self.context - 1]]
