"""Sense finetuning (Hewitt et al., 2024): a few sense vectors of a Backpack learn from one example, all else stays.

A word's senses are the same in every text, so what one simple example teaches them holds in text unlike it. Of each
example the senses are chosen that take part in its prediction and little in general text, and a vector is added to
each. How much of a sense reaches a prediction does not depend on what the sense is: the network runs once, before
training, and never while it lasts. An edit without a goal is an answer here as everywhere, its end included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from errata.edits import GOALS, Edit
from errata.errors import BadConfig, BadModel
from errata.methods._base import Fit, Method, option, register_method
from errata.methods._examples import TETHERS, GoalConfig
from errata.models import EditableModel
from errata.models.backpack.modeling import BackpackForCausalLM
from errata.patches.base import Patch
from errata.patches.senses import Additions, SensePatch
from errata.solve.additions import GeneralText, ReadAims, SenseTether, Wanted, reads_of, unit
from errata.solve.ball import TEXTS, Ball
from errata.solve.descent import Descent, Held, descend
from errata.solve.general import stretches
from errata.solve.goals import aims
from errata.solve.importance import TOKENS, background, scores, union
from errata.statistics import corpus_for, packaged_prose

NO_SENSE = "no sense of its words takes part in the prediction of its target; word it otherwise"


@register_method("sense", paper="arXiv:2402.06155", patch="senses", tasks=("causal",), goals=GOALS)
class Sense(Method):
    """Adam on vectors added to the most important senses of each edit's words. Backpacks only."""

    @dataclass(frozen=True)
    class Config(GoalConfig):
        senses: int = option(10, "senses that are trained for an edit, the most important ones")
        background: float = option(
            1000.0, "weight of a sense's part in 500 tokens of general text, to be set against its part in the edit"
        )
        tokens: int = option(TOKENS, "how much general text that part is measured on, once for a model")
        lr: float = option(0.1, "learning rate of Adam, in units of the sense vectors' root mean square")
        steps: int = option(100, "most optimisation steps")
        enough: float = option(0.3, "stop when the loss of every edit is below this, nats a token")
        rows: int = option(64, "edits in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        config, network = self.config, self._backpack(model)
        if config.senses < 1:
            raise BadConfig(f"option 'senses' is {config.senses}; give 1 or more")
        with model.preserved():
            seen = [ReadAims.of(model, part) for part in aims(model, edits, config.rows)]
            chosen = self._chosen(model, seen)
            if not any(map(len, chosen)):
                return Fit(None, {str(edit.id): {"problem": NO_SENSE} for edit in edits})
            pairs = union(chosen)
            senses = network.sense_vectors(pairs[:, 0])[torch.arange(len(pairs), device=pairs.device), pairs[:, 1]]
            vectors = torch.zeros_like(senses, dtype=torch.float32)
            additions = Additions(pairs, vectors, network.config.vocab_size, network.config.num_senses)
            work = [Wanted(one, additions) for one in seen]
            descent = descend(
                model, {vectors: config.lr * unit(senses)}, work, steps=config.steps, enough=config.enough,
                schedule=config.schedule, **self._held(model, additions),
            )  # fmt: skip
        figures = self._figures(edits, chosen, descent)
        if any(loss != loss for loss in descent.losses):
            return Fit(None, figures)
        patch = SensePatch(
            pairs, vectors, network.config.num_senses, reads_of(work), method=self.name, config=config.to_json(),
            edits=[str(edit.id) for edit in edits],
        )  # fmt: skip
        return Fit(patch, figures)

    def _backpack(self, model: EditableModel) -> BackpackForCausalLM:
        if not isinstance(model.model, BackpackForCausalLM):
            raise BadModel(
                f"'{self.name}' edits the senses of a Backpack's words, and {model.name} is a "
                f"{type(model.model).__name__}; use a Backpack, such as lab:backpack, or another method"
            )
        return model.model

    def _chosen(self, model: EditableModel, seen: Sequence[ReadAims]) -> list[Tensor]:
        """For each edit the pairs (m, 2) of token id and sense that are trained for it."""
        config, sizes = self.config, self._backpack(model).config
        around = torch.zeros(sizes.vocab_size, sizes.num_senses)
        if config.background:
            text = corpus_for(model, config.corpus) if config.corpus else packaged_prose()
            around = background(model, text, config.tokens)
        found = [scores(model, one.aims, one.targets, one.rivals, around, config.background) for one in seen]
        return [of.best(config.senses) for part in found for of in part]

    def _held(self, model: EditableModel, additions: Additions) -> Held:
        """What the options hold the descent back by; see `_examples.bounds`."""
        config, held = self.config, Held()
        if config.ball is not None:
            text = GeneralText(model, stretches(model, config.corpus, TEXTS), additions)
            held["ball"] = Ball(config.ball, text)
        if config.kl > 0:
            text = GeneralText(model, stretches(model, config.corpus, TETHERS, skip=TEXTS), additions)
            held["penalties"] = [SenseTether(text, config.kl, config.seed)]
        return held

    @staticmethod
    def _figures(edits: Sequence[Edit], chosen: Sequence[Tensor], descent: Descent) -> dict[str, dict[str, Any]]:
        figures = descent.figures(edits)
        for edit, pairs in zip(edits, chosen, strict=True):
            figures[str(edit.id)]["senses"] = len(pairs)
            if not len(pairs):
                figures[str(edit.id)]["problem"] = NO_SENSE
        return figures
