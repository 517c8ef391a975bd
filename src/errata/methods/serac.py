"""SERAC: a memory of edits beside the model (Mitchell et al., 2022). No weight of the model moves.

A small scope classifier says which edit a prompt belongs to, if any; then a counterfactual model, which reads edit and
prompt, answers in place of the model. Both are trained once; an edit costs one pass of the classifier's encoder, and
undoing it drops a list entry. Differs from the published code: both networks start from the model's own first blocks
and share its embedding table rather than being other pretrained models, embeddings are unit vectors with a learned
scale, those of edits are computed once, other edits' prompts are negatives too, a classifier is told the label of the
edit, and of several edits of one prompt the newest answers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import BadConfig, BadModel
from errata.learn.counterfactual import counterfactual_logits
from errata.learn.course import Course
from errata.learn.lessons import Lesson, Lessons
from errata.learn.scope import scope_loss
from errata.learn.trained import TrainedEditor
from errata.methods._base import Fit, option, register_method
from errata.methods._learned import LearnedConfig, LearnedMethod
from errata.models import EditableModel
from errata.models.losses import margin, target_loss
from errata.patches.base import Patch
from errata.patches.networks import Networks, Placed, Sizes, text_ids
from errata.patches.router import Entry, RouterPatch

_TASKS = ("seq2seq", "classification")
Asked = tuple[str, str]  # a prompt, and what must be said to it


@register_method("serac", paper="arXiv:2206.06520", patch="router", needs_training=True, tasks=_TASKS)
class Serac(LearnedMethod):
    """A scope classifier and a counterfactual model beside the edited one."""

    @dataclass(frozen=True)
    class Config(LearnedConfig):
        threshold: float = option(0.5, "similarity above which a prompt is in the scope of an edit")
        scope_blocks: int = option(2, "training: blocks of the scope classifier's encoder")
        blocks: int = option(4, "training: blocks in each stack of the counterfactual model, at most the model's own")
        width: int = option(64, "training: length of an embedding")
        negatives: int = option(4, "training: locality prompts of an edit in one step")
        weight: float = option(0.1, "training: of the counterfactual model's loss beside the scope classifier's")

    free = LearnedMethod.free | {"threshold"}

    def course(self, model: EditableModel, lessons: Lessons) -> Course:
        self._check(model)
        return _Course(model, self.config)

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        if not isinstance(previous, RouterPatch):
            return False
        return previous.slot == self._router([], _networks(self.opened(model))).slot

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        self._check(model)
        return super().fit(model, edits, previous)

    def apply(self, model: EditableModel, editor: TrainedEditor, edits: Sequence[Edit], previous: Patch | None) -> Fit:
        networks = previous.networks if isinstance(previous, RouterPatch) else _networks(editor)
        placed = networks.on(model)
        entries, figures = [], {}
        for edit in edits:
            entry = _entry(model, placed, edit)
            figures[str(edit.id)] = told = self._figures(model, placed, edit, entry)
            if "problem" not in told:
                entries.append(entry)
        if not entries:
            return Fit(previous, figures)
        return Fit(RouterPatch.extended(previous, self._router(entries, networks)), figures)

    def _check(self, model: EditableModel) -> None:
        if model.task not in _TASKS:
            raise BadModel(
                f"'{self.name}' edits models that read their prompt first, and {model.name} is {model.task}; use mend"
            )
        if not 0 < self.config.threshold < 1:
            raise BadConfig(f"option 'threshold' is {self.config.threshold}; give one between 0 and 1")

    def _router(self, entries: Sequence[Entry], networks: Networks) -> RouterPatch:
        return RouterPatch(
            entries, networks, threshold=self.config.threshold, method=self.name, config=self.config.to_json(),
            edits=[entry.edit for entry in entries],
        )  # fmt: skip

    @torch.no_grad()
    def _figures(self, model: EditableModel, placed: Placed, edit: Edit, entry: Entry) -> dict[str, Any]:
        row = text_ids(model, edit.prompt)
        asked, own = placed.embed([row]), entry.embedding[None].to(model.device)
        similarity = float(placed.scope.log_similarity(asked, own).exp())
        if not placed.fits(entry.context, row):
            return {"problem": f"edit and prompt together are longer than the {placed.room} tokens of the model"}
        if not similarity > self.config.threshold:
            reason = f"its own prompt is out of its scope (similarity {similarity:.2f}); train the editor longer"
            return {"problem": reason}
        return {"similarity": similarity}


class _Course(Course):
    """Both networks, trained side by side: neither reads what the other one makes."""

    def __init__(self, model: EditableModel, config: Any) -> None:
        self.model, self.config = model, config
        self.placed = Placed.fresh(model, Sizes(config.scope_blocks, config.blocks, config.width))
        self.scope, self.counterfactual = self.placed.scope, self.placed.counterfactual

    def groups(self) -> list[dict[str, Any]]:
        parameters = [*self.scope.parameters(), *self.counterfactual.parameters()]
        return [{"params": [one for one in parameters if one.requires_grad], "lr": self.config.lr}]

    def step(self, lessons: Sequence[Lesson], rng: random.Random) -> Mapping[str, float]:
        drawn = [(one, rng.choice([(one.edit.prompt, one.edit.target), *one.outer])) for one in lessons]
        lessons, asked = self._fitting(drawn)
        beside = [
            (place, probe.prompt) for place, one in enumerate(lessons)
            for probe in rng.sample(one.locality, min(self.config.negatives, len(one.locality)))
        ]  # fmt: skip
        found = self._losses(lessons, asked, beside)
        loss = found.scope + self.config.weight * found.answer
        loss.backward()
        parts = {"loss": loss, "scope": found.scope, "answer": found.answer}
        return {name: float(part.detach()) for name, part in parts.items()}

    @torch.no_grad()
    def validate(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        """As many edits in force at a time as in a batch; asked are each one's first rephrase and all its probes."""
        losses, right, moved = [], [], []
        limit = math.log(self.config.threshold)
        for together in _divided(lessons, self.config.batch):
            part, asked = self._fitting([(one, one.outer[0]) for one in together])
            meant = {prompt for one in part for prompt in (one.edit.prompt, *(prompt for prompt, _ in one.outer))}
            beside = [
                (place, probe.prompt) for place, one in enumerate(part) for probe in one.locality
                if probe.prompt not in meant
            ]  # fmt: skip
            parts = self._losses(part, asked, beside)
            losses += [float(parts.scope + self.config.weight * parts.answer)] * len(part)
            most, nearest = parts.inside.max(0)
            own = nearest == torch.arange(len(part), device=nearest.device)
            right += (own & (most > limit) & (parts.leads > 0)).tolist()
            moved += (parts.outside.amax(0) > limit).tolist()
        figures = {"loss": losses, "success": right, "drawdown": moved}
        return {name: sum(each) / max(1, len(each)) for name, each in figures.items()}

    def _fitting(self, drawn: Sequence[tuple[Lesson, Asked]]) -> tuple[list[Lesson], list[Asked]]:
        """The lessons that the counterfactual model can read with the question that was drawn for each."""
        kept = [(lesson, asked) for lesson, asked in drawn if self._fits(lesson, asked)]
        if not kept:
            prompt = drawn[0][0].edit.prompt
            raise BadConfig(f"edit and prompt together are longer than the model reads: {prompt[:60]!r}")
        return [lesson for lesson, _ in kept], [asked for _, asked in kept]

    def _fits(self, lesson: Lesson, asked: Asked) -> bool:
        context = self.placed.context(self.model, _text(self.model, lesson.edit))
        return self.placed.fits(context, text_ids(self.model, asked[0]))

    def state(self) -> dict[str, Tensor]:
        return self.placed.tensors()

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.placed.fill(state)

    def _losses(
        self, lessons: Sequence[Lesson], asked: Sequence[Asked], beside: Sequence[tuple[int, str]]
    ) -> _Losses:
        """On one question of each lesson, and on locality prompts with the places of the lessons they belong to."""
        n, prompts = len(lessons), [prompt for prompt, _ in asked]
        texts = [_text(self.model, one.edit) for one in lessons] + prompts + [prompt for _, prompt in beside]
        embedded = self.placed.embed([text_ids(self.model, text) for text in texts])
        edits, *others = embedded.split([n, n, len(beside)])
        inside, outside = (self.scope.log_similarity(edits, one) for one in others)
        owners = torch.tensor([place for place, _ in beside], dtype=torch.long, device=outside.device)
        contexts = [self.placed.context(self.model, told) for told in texts[:n]]
        batch = self.model.encode(prompts, [target for _, target in asked])
        assert batch.gold is not None
        logits = counterfactual_logits(self.placed, contexts, batch)
        answer = target_loss(logits, batch.gold).mean()
        return _Losses(scope_loss(inside, outside, owners), answer, inside, outside, margin(logits, batch.gold))


@dataclass(frozen=True)
class _Losses:
    """Of the two networks, with the log similarities of edits to what they are asked, and the leads of the answers."""

    scope: Tensor
    answer: Tensor
    inside: Tensor
    outside: Tensor
    leads: Tensor


def _divided(lessons: Sequence[Lesson], size: int) -> list[list[Lesson]]:
    """Parts of at most `size` lessons, no two of one part about the same: they may want different answers."""
    parts: list[dict[str, Lesson]] = []
    for lesson in lessons:
        part = next((part for part in parts if len(part) < size and lesson.about not in part), None)
        if part is None:
            parts.append(part := {})
        part[lesson.about] = lesson
    return [list(part.values()) for part in parts]


@torch.no_grad()
def _entry(model: EditableModel, placed: Placed, edit: Edit) -> Entry:
    text = _text(model, edit)
    embedding = placed.embed([text_ids(model, text)])[0].cpu()
    return Entry(str(edit.id), edit.prompt, embedding, tuple(placed.context(model, text)))


def _text(model: EditableModel, edit: Edit) -> str:
    """An edit as both networks read it; a label, which may be given by its number, goes by its name."""
    target = edit.target.strip()
    if model.task == "classification":
        target = model.labels[model.encode([edit.prompt], [edit.target]).target_ids[0][0]]
    return f"{edit.prompt} {target}"


@lru_cache(maxsize=2)  # edits made one at a time need not halve and hash the tensors every time
def _networks(editor: TrainedEditor) -> Networks:
    sizes = Sizes(**{name: int(editor.options[name]) for name in ("scope_blocks", "blocks", "width")})
    return Networks(sizes, editor.tensors)
