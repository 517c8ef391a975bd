"""What a recipe's edits are asked about: the stream of edits, their questions, and what no edit is about.

Draws and expands by the recipe's seed, so that every method meets the same stream. Knows data sets; runs no model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from errata import datasets
from errata.edits import Edit, Probe
from errata.errors import BadEdit
from errata.evaluate.questions import Question, questions_of, wording_of
from errata.evaluate.recipe import Recipe
from errata.evaluate.shifts import shifted


@dataclass(frozen=True)
class Setting:
    """The stream of a benchmark, in order, what is asked about each edit, by id, and what no edit is about."""

    edits: Sequence[Edit]
    about: dict[str, list[Question]]
    upstream: Sequence[Question]

    def questions(self, ids: Sequence[str]) -> list[Question]:
        """What is asked about these edits, and upstream."""
        return [question for id in ids for question in self.about[id]] + list(self.upstream)

    def everything(self) -> list[Question]:
        """Every question that may be asked."""
        return self.questions([str(edit.id) for edit in self.edits])

    def in_chat(self) -> Setting:
        """Return the setting as a chat model reads it: plain prompts are user messages."""
        about = {id: [question.as_chat() for question in asked] for id, asked in self.about.items()}
        upstream = [question.as_chat() for question in self.upstream]
        return Setting([edit.as_chat() for edit in self.edits], about, upstream)

    def digest(self) -> str:
        """Of the edits and questions, so that results of other data are not taken for these."""
        content = [[edit.to_json() for edit in self.edits], [question.to_json() for question in self.everything()]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def prepare(recipe: Recipe) -> Setting:
    """Draw the stream of a recipe. Raises: UnknownName, BadEdit (a bad record, or nothing to edit)."""
    source = datasets.open(recipe.dataset)
    drawn = _draw(source.edits(), recipe)
    stream = [edit for one in drawn for edit in expanded(one, recipe.rephrasings)]
    if recipe.rephrasings:
        random.Random(recipe.seed).shuffle(stream)
    edited = {edit.prompt for edit in stream}
    moved = edited | {prompt for edit in stream for prompt in edit.rephrases}
    about = {str(edit.id): _asked(edit, edited, moved, recipe) for edit in stream}
    return Setting(stream, about, _upstream(recipe, source, moved))


def foreseen(recipe: Recipe) -> dict[str, Any]:
    """What a recipe comes to, before anything is run, as plain values. Raises: UnknownName, BadEdit."""
    setting = prepare(recipe)
    total = len(setting.edits)
    return {
        "model": recipe.model, "dataset": recipe.dataset, "protocol": recipe.protocol, "edits": total,
        "questions": len(setting.everything()), "upstream": len(setting.upstream),
        "checkpoints": recipe.moments(total) if recipe.protocol == "sequential" else [total],
        "methods": [contender.label for contender in recipe.methods],
    }  # fmt: skip


def expanded(edit: Edit, rephrasings: int) -> list[Edit]:
    """The edit, and as many of its rephrases as edits of their own; what is left of them stays with the first."""
    first, subject = dataclasses.replace(edit, rephrases=edit.rephrases[rephrasings:]), edit.subject
    others = [
        Edit(prompt, edit.target, subject if subject and subject in prompt else None, id=wording_of(str(edit.id), i))
        for i, prompt in enumerate(edit.rephrases[:rephrasings], start=1)
    ]
    return [first, *others]


def _draw(edits: Sequence[Edit], recipe: Recipe) -> list[Edit]:
    """n edits in the seed's order, each with an id."""
    ordered = list(edits)
    random.Random(recipe.seed).shuffle(ordered)
    if recipe.n is not None and recipe.n > len(ordered):
        raise BadEdit(f"{recipe.dataset} has {len(ordered)} edits, and n is {recipe.n}; lower n or leave it out")
    chosen = ordered[: recipe.n]
    return [dataclasses.replace(edit, id=edit.id or f"{place:06d}") for place, edit in enumerate(chosen, start=1)]


def _asked(edit: Edit, edited: set[str], moved: set[str], recipe: Recipe) -> list[Question]:
    """Questions about one edit, less those whose answer another edit of the stream is meant to change."""
    asked = questions_of([edit])
    kept = [q for q in asked if q.kind == "reliability" or q.prompt not in (moved if q.kind == "locality" else edited)]
    return kept + shifted([q for q in kept if q.kind == "reliability"], recipe.shifts, recipe.seed)


def _upstream(recipe: Recipe, source: datasets.Dataset, edited: set[str]) -> list[Question]:
    probes = source.upstream() if recipe.upstream is None else _probes(recipe.upstream)
    probes = [probe for probe in probes if probe.prompt not in edited]
    random.Random(recipe.seed).shuffle(probes)
    asked = [Question("upstream", p.prompt, p.answer, about=p.kind or "") for p in probes[: recipe.upstream_n]]
    return asked + shifted(asked, recipe.shifts, recipe.seed)


def _probes(name: str) -> list[Probe]:
    """Questions from a data set: its own upstream questions, or what its edits' prompts truly have as answers."""
    source = datasets.open(name)
    found = source.upstream()
    if not found:
        raise BadEdit(f"data set '{name}' has no upstream questions; name one that has, such as lab-facts")
    return found
