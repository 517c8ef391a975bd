"""Running a recipe: its model and data once, then each of its methods through the protocol, into one directory.

Finished methods are not run again; one that cannot be used on the model is noted and the others go on.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from errata.errors import BadEdit, ErrataError
from errata.evaluate.asking import Heard, listen
from errata.evaluate.gauge import Gauge
from errata.evaluate.metrics._base import METRICS
from errata.evaluate.protocols import PROTOCOLS
from errata.evaluate.recipe import Recipe
from errata.evaluate.results import Results, read_lines, write_lines
from errata.evaluate.setting import Setting, prepare
from errata.methods._base import create
from errata.models import EditableModel

VERSIONS = ("errata", "torch", "transformers")


def run(recipe: Recipe, out: str | Path, *, resume: bool = False, progress: bool = False) -> Results:
    """Run every method of a recipe and measure it; the results stand in the directory `out`.

    Raises: UnknownName, BadConfig, BadEdit, BadModel before any work; what a single method raises later is kept in
    its folder (`Results.problems`), and the others go on.
    """
    check(recipe)
    setting = prepare(recipe)
    if not setting.edits:
        raise BadEdit(f"{recipe.dataset} has no edits; name another data set")
    model = EditableModel.load(recipe.model)
    model.check()
    results = Results.start(out, recipe, resume=resume)
    results.bind({"model": model.fingerprint(), "data": setting.digest()})
    results.note(environment())
    gauge = Gauge(results.recipe, setting, model, _before(results, setting, model, progress))
    for contender in results.recipe.methods:
        folder = results.run(contender)
        if folder.finished:
            continue
        try:
            PROTOCOLS[recipe.protocol](gauge, contender, folder, progress=progress).go()
        except ErrataError as error:
            folder.note_problem(str(error))
    return results


def check(recipe: Recipe) -> None:
    """Refuse names and options that are wrong before anything is loaded. Raises: UnknownName, BadConfig."""
    for contender in recipe.methods:
        create(contender.method, contender.options)
    for name in recipe.metrics:
        METRICS.get(name)


def environment() -> dict[str, str | int]:
    """What figures may depend on beyond the recipe."""
    found: dict[str, str | int] = {name: version(name) for name in VERSIONS}
    return found | {
        "python": platform.python_version(), "machine": platform.machine(), "threads": torch.get_num_threads(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def _before(results: Results, setting: Setting, model: EditableModel, progress: bool) -> Sequence[Heard]:
    """What the unedited model says to every question: asked once for all methods and all resumptions."""
    path = results.path / "before.jsonl.gz"
    if (rows := read_lines(path)) is not None:
        return [Heard.from_json(row) for row in rows]
    length = results.recipe.max_new_tokens
    heard = listen(model, setting.everything(), max_new_tokens=length, progress="before" if progress else None)
    write_lines(path, [one.to_json() for one in heard])
    return heard
