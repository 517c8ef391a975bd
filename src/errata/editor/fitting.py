"""From edits to a patch that holds: fit, put it on, check every answer, and leave out what did not work.

Whether an edit worked is decided here: with the patch in force, each token of the target and the end after it must be
the model's first choice, unless the method says otherwise (`Method.verify`); the loss of a canonical example must be
lower than it was, or low enough. Knows methods and patches as such; attaches nothing for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch

from errata.editor.stack import Stack
from errata.edits import Edit
from errata.methods._base import Fit, Method
from errata.models import EditableModel
from errata.patches.base import Inseparable, Patch
from errata.solve.goals import DONE, aims

VERIFY_ROWS = 256  # edits checked in one forward
NO_PATCH = "the method made no patch for it"
NOT_SAID = "with the patch in force the target is not the answer; the edit was left out"


@dataclass(frozen=True)
class Settled:
    """A patch of the edits that worked (None if none did), the patch it takes in, and why the others did not."""

    patch: Patch | None
    previous: Patch | None
    problems: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def settle(
    model: EditableModel,
    stack: Stack,
    method: Method,
    edits: Sequence[Edit],
    place: int,
    *,
    alone: bool = False,
    onto: Patch | None = None,
) -> Settled:
    """Fit `edits` and drop those that fail, until all that are left hold together.

    `place` is where in the stack the patch belongs, so that what is checked is, bit for bit, what will be in force.
    `alone`: extend no earlier patch, but the attached `onto` if it is given.
    """
    previous = onto if alone else _extendable(model, stack, method)
    problems: dict[str, str] = {}
    figures: dict[str, Mapping[str, Any]] = {}
    fit: Fit | None = None
    fitted: list[Edit] = []
    wanted, examples = list(edits), {id: {"loss_before": loss} for id, loss in _losses(model, edits).items()}
    while wanted:
        if fit is None or fitted != wanted:
            fit, fitted = _fit(model, method, wanted, previous, fit), wanted
            figures.update(fit.figures)
        failing = {id: text for id, text in _problems(wanted, figures).items() if id not in problems}
        if not failing and fit.patch is None:
            failing = dict.fromkeys(_ids(wanted), NO_PATCH)
        elif not failing and fit.patch is not None:
            with _on_trial(model, _placed(fit.patch, previous, place), previous):
                for id, loss in _losses(model, wanted).items():
                    examples[id]["loss"] = loss
                failing = _misses(model, method, wanted, examples)
        if not failing:
            break
        problems |= failing
        wanted = [edit for edit in wanted if str(edit.id) not in problems]
    for id, measured in examples.items():
        figures[id] = {**figures.get(id, {}), **measured}
    return Settled(fit.patch if fit and wanted else None, previous, problems, figures)


def _fit(
    model: EditableModel, method: Method, wanted: list[Edit], previous: Patch | None, earlier: Fit | None
) -> Fit:
    """A patch of exactly the edits `wanted`: what is there without the others, or solved again if it must be."""
    if earlier is None:
        return method.fit(model, wanted, previous)
    if earlier.patch is not None:
        ours = set(earlier.patch.edits) - set(previous.edits if previous else ())
        try:
            patch = earlier.patch.without(ours - {str(edit.id) for edit in wanted})
            return replace(earlier, patch=patch)
        except Inseparable:
            pass
    return method.refit(model, wanted, previous, earlier)


def _placed(patch: Patch, previous: Patch | None, place: int) -> Patch:
    if not patch.attached:
        patch.order = place if previous is None else previous.order
    return patch


def _problems(edits: Sequence[Edit], figures: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found = {str(edit.id): figures.get(str(edit.id), {}).get("problem") for edit in edits}
    return {id: str(text) for id, text in found.items() if text is not None}


@contextmanager
def _on_trial(model: EditableModel, patch: Patch, previous: Patch | None) -> Iterator[None]:
    """Inside, the patch is in force, and the one that it takes in is not."""
    if previous is not None:
        previous.detach(model)
    patch.attach(model)
    try:
        yield
    finally:
        patch.detach(model)
        if previous is not None:
            previous.attach(model)


def _misses(
    model: EditableModel, method: Method, edits: Sequence[Edit], examples: Mapping[str, Mapping[str, float]]
) -> dict[str, str]:
    """Answers that are not given, and examples that are no better than they were, with the reason."""
    answers = [edit for edit in edits if edit.goal is None]
    missed = {}
    for start in range(0, len(answers), VERIFY_ROWS):
        rows = answers[start : start + VERIFY_ROWS]
        hits = method.verify(model, rows)
        missed |= {str(edit.id): NOT_SAID for edit, hit in zip(rows, hits, strict=True) if not hit}
    for edit in edits:
        if edit.goal is None:
            continue
        before, loss = examples[str(edit.id)]["loss_before"], examples[str(edit.id)]["loss"]
        if not (loss < before or loss <= DONE[edit.goal]):
            told = f"with the patch in force its loss is {loss:.3f}, and was {before:.3f}; it was left out"
            missed[str(edit.id)] = told
    return missed


@torch.no_grad()
def _losses(model: EditableModel, edits: Sequence[Edit]) -> dict[str, float]:
    """Of every canonical example, by id: what is to fall."""
    examples = [edit for edit in edits if edit.goal is not None]
    with model.evaluating():
        found = [part.losses(model).tolist() for part in aims(model, examples, VERIFY_ROWS)]
    return dict(zip(_ids(examples), chain.from_iterable(found), strict=True))


def _ids(edits: Sequence[Edit]) -> list[str]:
    return [str(edit.id) for edit in edits]


def _extendable(model: EditableModel, stack: Stack, method: Method) -> Patch | None:
    for patch in reversed(stack.patches.values()):
        if patch.method == method.name and method.extends(model, patch):
            return patch
    return None
