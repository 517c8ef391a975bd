"""A gauge: everything a recipe measures of one model, held against what the model was before any edit.

Knows how evidence is gathered; which method changed the model it never asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from errata.evaluate.asking import Heard, compared, listen
from errata.evaluate.downstream.battery import Battery, paired
from errata.evaluate.downstream.grades import Graded
from errata.evaluate.evidence import Answer, Continuation, Evidence
from errata.evaluate.metrics._base import measure
from errata.evaluate.questions import Question
from errata.evaluate.recipe import Recipe
from errata.evaluate.setting import Setting
from errata.evaluate.texts import Reference, Weights, general_texts
from errata.models import EditableModel


class Gauge:
    """What the unedited model says and scores, and how a model compares with it.

    Made while the model is unedited; `evidence` then asks the same model with patches on it.
    """

    def __init__(self, recipe: Recipe, setting: Setting, model: EditableModel, before: Sequence[Heard]) -> None:
        self.recipe, self.setting, self.model = recipe, setting, model
        self._before = dict(zip(setting.everything(), before, strict=True))
        texts = general_texts(model, recipe.texts) if recipe.texts and model.task == "causal" else []
        self._texts = Reference(model, texts)
        self._weights = Weights(model)
        tasks = recipe.downstream
        self._battery = Battery(tasks, limit=recipe.downstream_n, seed=recipe.seed) if tasks else None
        self._graded = self._battery.grade(model) if self._battery else []

    def answers(self, ids: Sequence[str], *, upstream: bool = True, progress: str | None = None) -> list[Answer]:
        """What is said now to the questions about these edits, and upstream."""
        questions = [question for id in ids for question in self.setting.about[id]]
        questions += self.setting.upstream if upstream else []
        return self.ask(questions, progress=progress)

    def ask(self, questions: Sequence[Question], *, progress: str | None = None) -> list[Answer]:
        before = [self._before[question] for question in questions]
        length = self.recipe.max_new_tokens
        now = listen(self.model, questions, before, max_new_tokens=length, progress=progress)
        return compared(questions, before, now)

    def evidence(
        self, edits: int, ids: Sequence[str], latest: Sequence[str] = (), *, progress: str | None = None
    ) -> Evidence:
        """Everything, after `edits` edits: answers about the edits `ids`, upstream, texts, weights."""
        return Evidence(
            edits=edits, answers=self.answers(ids, progress=progress), texts=self._texts.score(),
            continuations=self._continuations(ids), moved=self._weights.moved(), latest=frozenset(latest),
            downstream=self._downstream(),
        )  # fmt: skip

    def perplexity(self, texts: int = 8) -> float:
        """A quick look, for watching: perplexity on the first few texts."""
        return self._texts.perplexity(texts)

    def _downstream(self) -> list[Graded]:
        return paired(self._graded, self._battery.grade(self.model)) if self._battery else []

    def _continuations(self, ids: Sequence[str]) -> list[Continuation]:
        chosen = [q for id in ids for q in self.setting.about[id] if q.kind == "reliability"]
        return self._texts.continued(chosen[: self.recipe.continuations], seed=self.recipe.seed)


def figures(evidence: Evidence, metrics: Sequence[str]) -> dict[str, Any]:
    """One checkpoint's figures as JSON values."""
    measured = measure(evidence, list(metrics) or None)
    return {"edits": evidence.edits, "figures": {name: figure.to_json() for name, figure in measured.items()}}

