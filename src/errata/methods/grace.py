"""GRACE: discrete key-value adaptors (Hartvigsen et al., 2023). Weights stay; a codebook at one block answers.

A key is the state of the prompt's last token at a block's output; near it (L2) the block's output is replaced by a
learned value. Differs from the published code where that is wrong or slow: labels compare as sequences, a split never
enlarges a radius and looks at every ball, targets end, a causal model is looked up at every position, all values of
a call are trained together on the blocks above the site, and training stops once the target leads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.methods._base import Fit, Method, MethodConfig, option, register_method
from errata.methods._sites import site
from errata.models import Batch, EditableModel
from errata.patches.base import Patch
from errata.patches.codebook import CodebookPatch, Entry, Rules
from errata.solve.values import Task, Trained, initial, train_values, typical


@register_method("grace", paper="arXiv:2211.11031", patch="codebook")
class Grace(Method):
    """A codebook of one key per edit at one block."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        layer: Literal["auto"] | int | float = option(
            "auto", "block whose output is replaced: number, or fraction of the depth"
        )
        radius: float = option(1.0, "initial deferral radius, L2")
        init: Literal["warm", "cold"] = option(
            "warm", "where values start: the state itself, or uniform random"
        )
        variant: Literal["coverage", "average"] = option(
            "coverage", "a key that takes in another prompt widens, or moves too"
        )
        lr: float = option(0.1, "learning rate of Adam on the values, in units of a typical coordinate of the state")
        steps: int = option(100, "most optimisation steps")
        lead: float = option(1.0, "stop once every token of the target leads all others by this many logits")
        together: int = option(64, "edits whose values are trained in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        assert previous is None or isinstance(previous, CodebookPatch)
        layer = site(model, self.config.layer)
        figures: dict[str, dict[str, Any]] = {}
        patch: CodebookPatch | None = previous
        # Prompts of like length waste little padding when their values are trained together.
        ordered = sorted(edits, key=lambda edit: len(edit.prompt))
        with model.preserved():
            for start in range(0, len(ordered), self.config.together):
                part = ordered[start : start + self.config.together]
                patch = self._extend(model, layer, part, patch, previous, figures)
        return Fit(patch, figures)

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        if not isinstance(previous, CodebookPatch):
            return False
        return (previous.layer, previous.rules) == (site(model, self.config.layer), self._rules(model))

    def settled(self, model: EditableModel) -> Config:
        return dataclasses.replace(self.config, layer=site(model, self.config.layer))

    def _rules(self, model: EditableModel) -> Rules:
        return Rules.at(model.dtype, self.config.variant)

    def _extend(
        self,
        model: EditableModel,
        layer: int,
        edits: Sequence[Edit],
        patch: CodebookPatch | None,
        attached: CodebookPatch | None,
        figures: dict[str, dict[str, Any]],
    ) -> CodebookPatch | None:
        """`patch` with these edits; `attached` is what of it is on the model."""
        batch = model.encode([e.prompt for e in edits], [e.target for e in edits])
        with _off(model, attached):
            states = _at_query(model.prefix(batch, layer).hidden, batch).float().cpu()
        entries = [
            Entry(str(edit.id), state, state, tuple(label), self.config.radius, edit.prompt, int(position))
            for edit, state, label, position in zip(
                edits, states, batch.target_ids, batch.query.tolist(), strict=True
            )
        ]
        draft = self._join(model, layer, patch, entries)
        owners = draft.geometry.owner[len(draft.entries) - len(entries) :].tolist()
        trained = self._train(model, layer, draft, entries, owners, [edit.target for edit in edits])
        values = {}
        for place, entry in enumerate(entries):
            value, figures[entry.edit] = trained.get(place, (entry.value, _contradicted()))
            if "problem" not in figures[entry.edit]:
                values[entry.edit] = value
        if len(values) == len(entries):
            return draft.revalued(values)
        # Keys of edits that failed must not have split or covered anything: derive the rest without them.
        reached = [entry for entry in entries if entry.edit in values]
        return self._join(model, layer, patch, reached).revalued(values)

    def _join(
        self, model: EditableModel, layer: int, patch: CodebookPatch | None, entries: Sequence[Entry]
    ) -> CodebookPatch:
        new = CodebookPatch(
            layer, entries, method=self.name, config=self.config.to_json(), edits=[entry.edit for entry in entries],
            rules=self._rules(model),
        )  # fmt: skip
        joined = CodebookPatch.extended(patch, new)
        assert isinstance(joined, CodebookPatch)
        return joined

    def _train(
        self,
        model: EditableModel,
        layer: int,
        draft: CodebookPatch,
        entries: Sequence[Entry],
        owners: Sequence[int],
        targets: Sequence[str],
    ) -> dict[int, tuple[Tensor, dict[str, Any]]]:
        """Value and figures by place in `entries`. One value serves all edits of one key, earlier ones included."""
        first = len(draft.entries) - len(entries)
        keys = sorted({owner for owner in owners if owner >= 0})
        rows: list[tuple[int, Entry, str]] = []
        starts, scales = [], []
        for number, key in enumerate(keys):
            members = (draft.geometry.owner == key).nonzero()[:, 0].tolist()
            earlier = [draft.entries[member] for member in members if member < first]
            rows += [(number, entry, _decoded(model, entry.label)) for entry in earlier]
            rows += [(number, entries[m - first], str(targets[m - first])) for m in members if m >= first]
            own = draft.entries[members[0]].query
            scales.append(typical(own))
            starts.append(earlier[-1].value if earlier else initial(own, self.config.init, self.config.seed))
        if not rows:
            return {}
        trained = self._descend(model, layer, rows, torch.stack(starts), torch.stack(scales))
        found = {
            entry.edit: (trained.values[number].cpu(), trained.figures(row))
            for row, (number, entry, _) in enumerate(rows)
        }
        return {place: found[entry.edit] for place, entry in enumerate(entries) if entry.edit in found}

    def _descend(
        self, model: EditableModel, layer: int, rows: Sequence[tuple[int, Entry, str]], starts: Tensor, scales: Tensor
    ) -> Trained:
        batch = model.encode([entry.prompt for _, entry, _ in rows], [target for _, _, target in rows])
        task = Task.at(model, batch, layer, torch.tensor([number for number, _, _ in rows]), starts, scales)
        return train_values(task, lr=self.config.lr, steps=self.config.steps, lead=self.config.lead)


def _decoded(model: EditableModel, label: Sequence[int]) -> str:
    """The target of an earlier edit, from the ids that its entry kept."""
    if model.task == "classification":
        return str(label[0])
    return str(model.tokenizer.decode([token for token in label if token != model.tokenizer.eos_token_id]))


def _contradicted() -> dict[str, Any]:
    return {"problem": "another edit of the same call gives this prompt another target"}


def _at_query(hidden: Tensor, batch: Batch) -> Tensor:
    """(B, d): the states at each row's query token."""
    return hidden[torch.arange(len(batch)), batch.query]


@contextmanager
def _off(model: EditableModel, patch: Patch | None) -> Iterator[None]:
    """The patch off the model inside: keys are states as the block gives them."""
    if patch is not None:
        patch.detach(model)
    try:
        yield
    finally:
        if patch is not None:
            patch.attach(model)
