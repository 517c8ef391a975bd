"""What a causal tracing run is asked and what it found for one fact, and the classes of tokens it is read by.

Knows numbers, tokens and their JSON form; runs no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.locate.facts import Fact

KINDS = ("state", "mlp", "attention")

CLASSES = (
    "before the subject",
    "first subject token",
    "middle subject tokens",
    "last subject token",
    "first subsequent token",
    "further tokens",
    "last token",
)


@dataclass(frozen=True)
class Settings:
    """How to trace.

    Attributes:
        samples: corrupted runs per fact.
        noise: standard deviation of the noise, in standard deviations of a subject token's embedding.
        window: blocks whose MLP or attention is restored together; 0 means 10 of 48, as in GPT-2 XL.
        seed: of the noise.
        rows: most runs in one forward.
    """

    samples: int = 10
    noise: float = 3.0
    window: int = 0
    seed: int = 0
    rows: int = 256

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("window", 0), ("rows", 1)):
            if getattr(self, name) < least:
                raise BadConfig(f"'{name}' is {getattr(self, name)}; it must be at least {least}")
        if not 0 < self.noise < float("inf"):
            raise BadConfig(f"'noise' is {self.noise}; it must be a positive number")

    def resolved_window(self, depth: int) -> int:
        """Blocks restored together in a stack of `depth` blocks."""
        return min(self.window or max(round(depth * 10 / 48), 1), depth)


@dataclass(frozen=True)
class Trace:
    """What one fact's runs gave; probabilities of the answer's first token.

    Attributes:
        fact: the fact.
        tokens: the P traced tokens of the prompt, as text. Before the subject a causal model has nothing to restore.
        classes: for each its class, one of CLASSES.
        clean: without noise.
        corrupted: with noise, mean over samples.
        restored: for each traced one of KINDS, (P, L): mean over samples with the clean value back at that token and
            block.
    """

    fact: Fact
    tokens: tuple[str, ...]
    classes: tuple[str, ...]
    clean: float
    corrupted: float
    restored: Mapping[str, Tensor]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; from_json reads it back."""
        return {
            "prompt": self.fact.prompt, "subject": self.fact.subject, "answer": self.fact.answer,
            "tokens": list(self.tokens), "classes": list(self.classes),
            "clean": self.clean, "corrupted": self.corrupted,
            "restored": {kind: table.tolist() for kind, table in self.restored.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trace:
        """A trace from its JSON form."""
        return cls(
            Fact(value["prompt"], value["subject"], value["answer"]),
            tuple(value["tokens"]),
            tuple(value["classes"]),
            value["clean"],
            value["corrupted"],
            {kind: torch.tensor(table, dtype=torch.float64) for kind, table in value["restored"].items()},
        )


def token_classes(span: range, length: int) -> list[str]:
    """The class of each of `length` tokens whose subject is `span`; a token of the subject is never "last token"."""
    before, first, middle, last, subsequent, further, end = CLASSES
    classes = [before] * span.start + [middle] * len(span) + [further] * (length - span.stop)
    classes[span.start] = first
    classes[span.stop - 1] = last
    if span.stop < length:
        classes[span.stop] = subsequent
        classes[-1] = end
    return classes
