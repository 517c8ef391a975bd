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
from transformers.utils import logging

from errata.errors import BadEdit, ErrataError
from errata.evaluate.asking import Heard, listen
from errata.evaluate.editors import equipped
from errata.evaluate.gauge import Gauge
from errata.evaluate.metrics._base import METRICS
from errata.evaluate.parallel import run_apart
from errata.evaluate.protocols import PROTOCOLS
from errata.evaluate.recipe import Contender, Recipe
from errata.evaluate.results import Results, read_lines, write_lines
from errata.evaluate.setting import Setting, prepare
from errata.methods._base import create
from errata.models import EditableModel

VERSIONS = ("errata", "torch", "transformers")


def run(
    recipe: Recipe, out: str | Path, *, resume: bool = False, progress: bool = False, jobs: int = 1
) -> Results:
    """Run every method of a recipe and measure it; the results stand in the directory `out`.

    `jobs` methods run at a time, in processes of their own if it is more than one.

    Raises: UnknownName, BadConfig, BadEdit, BadModel before any work; what a single method raises later is kept in
    its folder (`Results.problems`), and the others go on.
    """
    check(recipe)
    setting = prepare(recipe)
    if not setting.edits:
        raise BadEdit(f"{recipe.dataset} has no edits; name another data set")
    model = EditableModel.load(recipe.model)
    model.check()
    setting = _as_read(setting, recipe, model)
    results = Results.start(out, recipe, resume=resume)
    results.bind({"model": model.fingerprint(), "data": setting.digest()})
    results.note(environment())
    gauge = Gauge(results.recipe, setting, model, _before(results, setting, model, progress))
    left = [contender for contender in results.recipe.methods if not results.run(contender).finished]
    if jobs > 1 and len(left) > 1:
        run_apart(_apart, results, left, min(jobs, len(left)), progress)
        return results
    for contender in left:
        _measure(results, gauge, contender, progress)
    return results


def _measure(results: Results, gauge: Gauge, contender: Contender, progress: bool) -> None:
    folder = results.run(contender)
    setting, place = gauge.setting, results.path / "editors" / contender.label
    try:
        ready = equipped(
            contender, gauge.model, results.recipe.dataset, setting.edits, place,
            chat=_in_chat(results.recipe, gauge.model), progress=progress,
        )  # fmt: skip
        PROTOCOLS[results.recipe.protocol](gauge, ready, folder, progress=progress).go()
    except ErrataError as error:
        folder.note_problem(str(error))


def _apart(path: Path, label: str) -> None:
    """One contender, in a process of its own, of results whose model has been asked before."""
    logging.disable_progress_bar()
    results = Results.open(path)
    (contender,) = [contender for contender in results.recipe.methods if contender.label == label]
    model = EditableModel.load(results.recipe.model)
    setting = _as_read(prepare(results.recipe), results.recipe, model)
    gauge = Gauge(results.recipe, setting, model, _before(results, setting, model, progress=False))
    _measure(results, gauge, contender, progress=False)


def _in_chat(recipe: Recipe, model: EditableModel) -> bool:
    """Whether plain prompts are user messages."""
    return model.chat is not None and not recipe.raw


def _as_read(setting: Setting, recipe: Recipe, model: EditableModel) -> Setting:
    return setting.in_chat() if _in_chat(recipe, model) else setting


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
