"""Chain: a codebook with a key for the prompt and for every token of the target, under a metric learned from wordings.

Errata's own, after GRACE (Hartvigsen et al., 2023). What differs: a value stands at every token of the target, its end
included, so that an answer is led to its end; block, metric and radius are calibrated on the model instead of chosen by
the user; the prompt's other wordings, borrowed from the facts it was calibrated on, have keys of their own; and balls
are not split where they meet, since a state belongs to the nearest key anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.methods._base import Fit, Method, MethodConfig, option, register_method
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.codebook import CodebookPatch, Entry, Rules
from errata.patches.geometry import NOBODY
from errata.patches.original import patches_off
from errata.solve.asked import Asked, ask
from errata.solve.values import Task, Trained, train_values, typical
from errata.statistics import corpus_for, packaged_prose
from errata.statistics.calibration import best, calibrate, candidates
from errata.statistics.phrasings import Phrasings, phrasings_for, places_of
from errata.statistics.separation import Separation, uncalibrated
from errata.statistics.wordings import borrowed

log = logging.getLogger(__name__)

NOTHING = Phrasings((), 0, "none", "no file of facts")


@register_method("chain", paper="Errata", patch="codebook")
class Chain(Method):
    """A codebook with keys along the whole target, at a calibrated block and radius."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        layer: Literal["auto"] | int | float = option(
            "auto", "block whose output is replaced: where wordings are told apart best, a number, or a fraction"
        )
        radius: Literal["auto"] | float = option("auto", "radius of a key: calibrated, or a distance in L2")
        facts: str | None = option(
            None, "facts in several wordings to calibrate on: a file of edits with rephrases, or a data set"
        )
        corpus: str | None = option(
            None, "text in which keys must not fire: a file or data set; by default prose in the package"
        )
        wordings: int = option(4, "other wordings of a prompt, borrowed from the calibration, that get keys too")
        rephrases: bool = option(False, "give an edit's own rephrases keys too; benchmarks ask these: off by default")
        lr: float = option(0.1, "learning rate of Adam on the values, in units of a typical coordinate of the state")
        steps: int = option(100, "most optimisation steps")
        lead: float = option(1.0, "stop once every token of the target leads all others by this many logits")
        together: int = option(64, "edits whose values are trained in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        assert previous is None or isinstance(previous, CodebookPatch)
        place, facts = self._place(model), self._facts(model)
        figures: dict[str, dict[str, Any]] = {}
        patch: CodebookPatch | None = previous
        # Prompts of like length waste little padding when their values are trained together.
        ordered = sorted(edits, key=lambda edit: len(edit.prompt))
        with model.preserved():
            for start in range(0, len(ordered), self.config.together):
                part = ordered[start : start + self.config.together]
                with patches_off(model, lambda one: one is previous):  # keys are states as the block gives them
                    asked = ask(model, place.layer, [e.prompt for e in part], [e.target for e in part])
                    others = self._wordings(model, place, facts, part, asked, {edit.prompt for edit in edits})
                trained = self._train(model, place, part, asked)
                for row, edit in enumerate(part):
                    figures[str(edit.id)] = {**trained.figures(row), "wordings": len(others[row])}
                patch = self._extended(model, place, facts, patch, part, asked, others, trained)
        return Fit(self._uncontradicted(patch, edits, figures), figures)

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        return previous.slot == self._book(model, self._place(model), ()).slot

    def _place(self, model: EditableModel) -> Separation:
        wanted, radius = self.config.layer, self.config.radius
        layers = candidates(model) if wanted == "auto" else [model.layer_of(wanted)]
        if radius != "auto":
            return uncalibrated(layers[len(layers) // 2], model.width, radius)
        text = packaged_prose() if self.config.corpus is None else corpus_for(model, self.config.corpus)
        found = best(calibrate(model, layers, self._facts(model), text))
        if found.warning:
            log.warning(found.warning)
        return found

    def _facts(self, model: EditableModel) -> Phrasings:
        """A classifier's texts are no questions about facts: it has none but those that it is given."""
        if model.task == "classification" and self.config.facts is None:
            return NOTHING
        return phrasings_for(self.config.facts)

    def _wordings(
        self, model: EditableModel, place: Separation, facts: Phrasings, edits: Sequence[Edit], asked: Sequence[Asked],
        taken: Collection[str],
    ) -> list[list[tuple[str, Asked]]]:  # fmt: skip
        """For every edit its prompt's other wordings: its own rephrases where they are wanted, and borrowed ones that
        the model itself answers alike."""
        found: list[tuple[int, str]] = []
        for row, edit in enumerate(edits):
            given = edit.rephrases if self.config.rephrases else ()
            prompts = dict.fromkeys((*given, *borrowed(facts, edit.prompt, edit.subject, self.config.wordings)))
            found += [(row, prompt) for prompt in prompts if prompt not in taken]
        others: list[list[tuple[str, Asked]]] = [[] for _ in edits]
        prompts, targets = [prompt for _, prompt in found], [edits[row].target for row, _ in found]
        for (row, prompt), one in zip(found, ask(model, place.layer, prompts, targets), strict=True):
            given = self.config.rephrases and prompt in edits[row].rephrases
            if one.label == asked[row].label and (given or one.said == asked[row].said):
                others[row].append((prompt, one))
        return others

    def _train(self, model: EditableModel, place: Separation, edits: Sequence[Edit], asked: Sequence[Asked]) -> Trained:
        """Values for every edit's query and target tokens, numbered edit by edit."""
        counts = [len(one.states) for one in asked]
        group = torch.full((len(asked), max(counts)), -1)
        numbers = torch.arange(sum(counts)).split(counts)
        for row, own in enumerate(numbers):
            group[row, : len(own)] = own
        starts = torch.cat([one.states for one in asked])
        scales = torch.stack([typical(state) for state in starts])
        batch = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
        task = Task.at(model, batch, place.layer, group, starts, scales)
        return train_values(task, lr=self.config.lr, steps=self.config.steps, lead=self.config.lead)

    def _extended(
        self, model: EditableModel, place: Separation, facts: Phrasings, patch: CodebookPatch | None,
        edits: Sequence[Edit], asked: Sequence[Asked], others: Sequence[Sequence[tuple[str, Asked]]], trained: Trained,
    ) -> CodebookPatch | None:  # fmt: skip
        """`patch` with the keys of the edits whose targets were reached."""
        values = trained.values.cpu().split([len(one.states) for one in asked])
        entries: list[Entry] = []
        for row, edit in enumerate(edits):
            if "problem" in trained.figures(row):
                continue
            wordings = [(edit.prompt, asked[row]), *others[row]]
            own = places_of(facts, [prompt for prompt, _ in wordings])
            for prompt, one in wordings:
                entries += _keys(place, own, str(edit.id), prompt, one, values[row])
        if not entries:
            return patch
        joined = CodebookPatch.extended(patch, self._book(model, place, entries))
        assert isinstance(joined, CodebookPatch)
        return joined

    def _book(self, model: EditableModel, place: Separation, entries: Sequence[Entry]) -> CodebookPatch:
        return CodebookPatch(
            place.layer, entries, method=self.name, config=self.config.to_json(), metric=place.metric,
            edits=list(dict.fromkeys(entry.edit for entry in entries)),
            rules=Rules.at(model.dtype, "separate"),
        )  # fmt: skip

    def _uncontradicted(
        self, patch: CodebookPatch | None, edits: Sequence[Edit], figures: dict[str, dict[str, Any]]
    ) -> Patch | None:
        """The patch without edits of this call whose prompt a later one of it gives another target."""
        if patch is None:
            return None
        own: dict[str, int] = {}
        for entry, owner in zip(patch.entries, patch.geometry.owner.tolist(), strict=True):
            own.setdefault(entry.edit, owner)  # an edit's first key is its prompt's
        lost = [id for id in (str(edit.id) for edit in edits) if own.get(id) == NOBODY]
        for id in lost:
            figures[id]["problem"] = "another edit of the same call gives this prompt another target"
        return patch.without(lost)


def _keys(
    place: Separation, own: Sequence[int], edit: str, prompt: str, asked: Asked, values: Tensor
) -> list[Entry]:
    """Keys of one wording: at its query, and at the tokens of the target."""
    queries = asked.states if place.metric is None else place.metric.of(asked.states)
    columns = (queries, values, place.radii(queries, own).tolist())
    return [
        Entry(edit, query, value, asked.label[number:], radius, prompt, asked.position + number)
        for number, (query, value, radius) in enumerate(zip(*columns, strict=True))
    ]
