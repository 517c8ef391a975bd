"""Scoped low-rank changes: a matrix is changed while the model answers an edit's question, and at no other time.

Errata's own. The scope is that of `scoped`, the user's message; the effect is LoRA's (Hu et al., 2021), factors beside
one matrix, of every edit its own, trained until each token of the answer is likely enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from errata.edits import Edit
from errata.errors import BadConfig, BadEdit
from errata.methods._asked import AskedConfig, AskedMethod, Found
from errata.methods._base import option, register_method
from errata.models import EditableModel
from errata.patches.bound import digest_of
from errata.patches.conditional import ConditionalPatch, Conditioned
from errata.prompts import Conversation, quote
from errata.scope import Form, Scorer
from errata.solve.conditional import solve_changes
from errata.statistics.scoping import scope_for


@register_method("scoped-lora", paper="Errata", patch="conditional", tasks=("causal",), chat=True)
class ScopedLora(AskedMethod):
    """A low-rank change of one matrix for every edit, in force along the answers to its question alone."""

    @dataclass(frozen=True)
    class Config(AskedConfig):
        role: Literal["mlp_down", "mlp_up", "attn_out"] = option("mlp_down", "which matrix of the block is changed")
        rank: int = option(4, "rank of every edit's change")
        lr: float = option(0.02, "learning rate of Adam, in units of a typical state's coordinate")
        steps: int = option(200, "most optimisation steps")
        contexts: int = option(2, "conversations with other turns before the question that are trained too, 0 to 2")
        batch_size: int = option(32, "edits whose changes are found in one forward")

    def check(self, edits: Sequence[Edit]) -> None:
        super().check(edits)
        raw = next((edit.prompt for edit in edits if not isinstance(edit.prompt, Conversation)), None)
        if raw is not None:
            raise BadEdit(
                f"'{self.name}' answers in conversations, and {quote(raw)} is text to be continued; "
                "give messages to a chat model, or use another method"
            )

    def _layer(self, model: EditableModel) -> int:
        if not (layer := super()._layer(model)):
            raise BadConfig("layer is 0, which has no block below it; choose a later block")
        return layer

    def _solve(self, model: EditableModel, layer: int, edits: Sequence[Edit]) -> list[Found]:
        used = self.config
        changes = solve_changes(
            model, edits, layer, used.role, rank=used.rank, confidence=used.confidence, lr=used.lr, steps=used.steps,
            contexts=used.contexts, seed=used.seed,
        )  # fmt: skip
        return [
            (edit, figures, [
                Conditioned(str(edit.id), str(prompt), prompt.earlier, change)
                for prompt in self._prompts(edit) if change is not None and isinstance(prompt, Conversation)
            ])
            for edit, (change, figures) in zip(edits, changes, strict=True)
        ]  # fmt: skip

    def _patch(self, model: EditableModel, entries: Sequence[Conditioned], edits: Sequence[str]) -> ConditionalPatch:
        used, layer = self.settled(model), self._layer(model)
        scorers: dict[Form, Scorer] = {"chat": scope_for(model, used.encoder, "chat", seed=used.seed).scorer}
        return ConditionalPatch(
            layer, entries, role=used.role, scorers=scorers, digest=digest_of(scorers), encoder=used.encoder,
            method=self.name, config=self.config.to_json(), edits=edits,
        )  # fmt: skip
