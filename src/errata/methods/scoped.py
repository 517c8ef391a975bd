"""Scoped answers: an edit answers its question in a conversation, in whatever words it is asked, and no other.

Errata's own. Two things that GRACE (Hartvigsen et al., 2023) leaves to one key are told apart. Scope: the user's
message decides, by a scorer that was learned from wordings of other questions (`errata.scope`). Effect: values at the
last block's output along the whole answer, in force as long as the model writes that answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from errata.edits import Edit
from errata.errors import BadEdit
from errata.methods._base import Fit, Method, MethodConfig, option, register_method
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.original import patches_off
from errata.patches.scoped import Answered, ScopedPatch, digest_of
from errata.progress import Progress
from errata.prompts import Conversation, quote
from errata.scope.encoders import installed_encoder
from errata.solve.answers import Solved, solve_answers
from errata.statistics.scoping import scope_for


@register_method("scoped", paper="Errata", patch="scoped", tasks=("causal",), chat=True)
class Scoped(Method):
    """Answers bound to questions: wordings of the question are answered, in any conversation."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        encoder: str = option(
            "auto",
            "what compares questions: words (the model's embeddings), minilm or a directory; auto: the best there",
        )
        layer: Literal["auto"] | int | float = option("auto", "block whose output is replaced; auto: the last")
        confidence: float = option(0.99, "probability that each token of the answer gets, from 0.5 to below 1")
        rephrases: bool = option(False, "also bind an edit's own rephrases; benchmarks ask these: off by default")
        steps: int = option(30, "most Newton steps for a value")
        batch_size: int = option(32, "edits whose values are found in one forward")

    def check(self, edits: Sequence[Edit]) -> None:
        super().check(edits)
        for edit in edits:
            if not isinstance(edit.prompt, Conversation):
                raise BadEdit(
                    f"'{self.name}' answers in conversations, and {quote(edit.prompt)} is to be continued as plain "
                    "text; use a model with a chat template, without --raw, or another method such as grace"
                )

    def settled(self, model: EditableModel) -> Config:
        encoder = installed_encoder() if self.config.encoder == "auto" else self.config.encoder
        return dataclasses.replace(self.config, encoder=encoder, layer=self._layer(model))

    def _layer(self, model: EditableModel) -> int:
        return len(model.arch) - 1 if self.config.layer == "auto" else model.layer_of(self.config.layer)

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        empty = self._patch(model, (), ())
        layer, figures, entries = empty.layer, {}, []
        # Prompts of like length waste little padding when they are read together.
        ordered = sorted(edits, key=lambda edit: len(edit.prompt) + len(edit.target))
        size = self.config.batch_size
        parts = len(ordered) > size  # of a single part the caller's own bar tells enough
        bar = (model.progress if parts else Progress()).bar("finding values", len(ordered), "edit")
        with model.preserved(), patches_off(model, lambda one: one is previous), bar as shown:
            for start in range(0, len(ordered), size):
                part = ordered[start : start + size]
                for edit, label, solved in self._solved(model, layer, part):
                    figures[str(edit.id)] = solved.figures
                    if "problem" not in solved.figures:
                        entries += self._entries(edit, label, solved)
                shown.update(len(part))
        if not entries:
            return Fit(previous, figures)
        place = {str(edit.id): number for number, edit in enumerate(edits)}
        entries.sort(key=lambda entry: place[entry.edit])
        new = self._patch(model, entries, list(dict.fromkeys(entry.edit for entry in entries)))
        return Fit(ScopedPatch.extended(previous, new), figures)

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        return previous.slot == self._patch(model, (), ()).slot

    def _solved(
        self, model: EditableModel, layer: int, edits: Sequence[Edit]
    ) -> list[tuple[Edit, tuple[int, ...], Solved]]:
        batch = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
        found = solve_answers(model, batch, layer, confidence=self.config.confidence, steps=self.config.steps)
        return [(e, tuple(ids), one) for e, ids, one in zip(edits, batch.target_ids, found, strict=True)]

    def _entries(self, edit: Edit, label: tuple[int, ...], solved: Solved) -> list[Answered]:
        prompts = (edit.prompt, *(edit.rephrases if self.config.rephrases else ()))
        return [Answered(str(edit.id), str(one), _earlier(one), label, solved.values) for one in prompts]

    def _patch(self, model: EditableModel, entries: Sequence[Answered], edits: Sequence[str]) -> ScopedPatch:
        used = self.settled(model)
        scorer = scope_for(model, used.encoder, seed=used.seed).scorer
        return ScopedPatch(
            self._layer(model), entries, scorer=scorer, digest=digest_of(scorer), encoder=used.encoder,
            method=self.name, config=self.config.to_json(), edits=edits,
        )  # fmt: skip


def _earlier(prompt: str) -> str | None:
    """The user's message before the last one, without which that may not be understood."""
    if not isinstance(prompt, Conversation):
        return None
    asked: list[Any] = [message.content for message in prompt.messages if message.role == "user"]
    return asked[-2] if len(asked) > 1 else None
