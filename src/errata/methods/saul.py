"""SAUL: fine-tuning on edited sentences followed by random facts (arXiv:2410.02433).

Beside the targets' own loss, every step reads other facts, drawn anew: one after each edited sentence, and some alone.
They keep the model writing as it did. Weights, ratio and model settings were not published; these are Errata's own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from errata.edits import GOALS, Edit
from errata.errors import BadConfig, BadModel
from errata.methods._base import option, register_method
from errata.methods._tuned import MatrixConfig, TunedMatrix
from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.models.losses import target_loss
from errata.solve.descent import Descent
from errata.solve.tuning import Borrowed
from errata.statistics import corpus_for

POOL = 500  # facts to draw from
LONGEST = 64  # tokens of one, at most


@register_method("saul", paper="arXiv:2410.02433", patch="weights", tasks=("causal",), goals=GOALS)
class SentenceConcatenation(TunedMatrix):
    """Fine-tuning one MLP matrix, with random facts after the edited sentences."""

    @dataclass(frozen=True)
    class Config(MatrixConfig):
        facts: str | None = option(
            None, "where random facts are drawn from: a text file or a data set; the lab's own, or prose, by default"
        )
        others: float = option(1.0, "weight of the random facts' loss, beside the targets'")
        alone: int = option(8, "random facts in a step that follow no edit")

    def train(
        self, model: EditableModel, matrices: Borrowed, edits: Sequence[Edit], repeated: Sequence[Edit]
    ) -> Descent:
        if model.task != "causal":
            raise BadModel(f"'{self.name}' edits models that write on; for this {model.task} model use ft or 1-li")
        config, rng = self.config, random.Random(self.config.seed)
        room = LONGEST if model.context is None else min(LONGEST, model.context // 2)
        facts = _fitting(model, islice(_sentences(corpus_for(model, config.facts).texts), POOL), room)
        if not facts:
            raise BadConfig(f"'{config.facts or 'the corpus'}' has no sentence below {room} tokens; name another text")
        said = (f"{edit.prompt.rstrip()} {edit.target.strip()}." for edit in edits if edit.goal in (None, "raise"))
        told = _fitting(model, said, room)

        def others() -> Tensor:
            before = [*rng.sample(told, min(len(told), config.rows)), *[""] * config.alone]
            return config.others * _loss_after(model, before, rng.choices(facts, k=len(before)))

        return self.descend(model, matrices, edits, penalties=[others])


def _fitting(model: EditableModel, texts: Iterable[str], tokens: int) -> list[str]:
    """Those of at most so many tokens: two of them are read together."""
    held = list(texts)
    return [text for text, ids in zip(held, prompt_ids(model, held), strict=True) if len(ids) < tokens] if held else []


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for sentence in re.split(r"(?<=[.!?])\s+", text.strip()):
            if len(sentence.split()) > 2:
                yield sentence


def _loss_after(model: EditableModel, before: Sequence[str], facts: Sequence[str]) -> Tensor:
    """Mean loss of facts, nats a token, each after its text; of one that stands alone the first word is read."""
    pairs = [(text, fact) if text else tuple(fact.split(maxsplit=1)) for text, fact in zip(before, facts, strict=True)]
    batch = model.encode([prompt for prompt, _ in pairs], [rest for _, rest in pairs], end=False)
    assert batch.gold is not None
    return target_loss(model.forward(batch, keep=batch.keep), batch.gold).mean()
