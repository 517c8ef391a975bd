"""Gathering a page from a directory of results, finished or not.

Knows the files of results and what they mean; draws and judges nothing.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from errata.evaluate.collapse import collapse
from errata.evaluate.evidence import Answer
from errata.evaluate.figures import Figure
from errata.evaluate.recipe import Contender, Recipe
from errata.evaluate.report.examples import cases
from errata.evaluate.report.page import Checkpoint, Entrant, Failure, Look, Page, Request, State, Work
from errata.evaluate.report.sweeps import sweeps
from errata.evaluate.results import Results, Run, read_lines

COLLAPSED = 2.0  # times the perplexity at the start, and never below it again


def gather(results: Results) -> Page:
    """Everything a report says of these results."""
    recipe = results.recipe
    runs = {contender.label: results.run(contender) for contender in recipe.methods}
    streams = {label: run.stream() for label, run in runs.items()}
    requests = _requests(runs.values())
    begin = start(streams.values())
    entrants = tuple(_entrant(c, runs[c.label], streams[c.label], requests, recipe, begin) for c in recipe.methods)
    total = _total(recipe, entrants)
    page = Page(
        title=recipe.title or f"{recipe.dataset} on {recipe.model}",
        recipe=recipe.to_json(), setting=_read(results.path / "setting.json"),
        environment=_read(results.path / "environment.json"), total=total, entrants=entrants, start=begin,
        missing=tuple(_missing(entrants, total)),
    )  # fmt: skip
    return dataclasses.replace(page, sweeps=tuple(sweeps(page.compared)))


def start(streams: Iterable[Sequence[Mapping[str, Any]]]) -> float | None:
    """Perplexity of the unedited model, which every method's run looked at first."""
    seen = [line["perplexity_before"] for stream in streams for line in stream[:1] if "perplexity_before" in line]
    return min((value for value in seen if math.isfinite(value)), default=None)


def _entrant(
    contender: Contender, run: Run, stream: Sequence[Mapping[str, Any]], requests: Mapping[str, Request],
    recipe: Recipe, begin: float | None,
) -> Entrant:  # fmt: skip
    failed = {id: reason for line in stream for id, reason in line["failed"].items()}
    looks = tuple(_looks(stream, requests))
    return Entrant(
        label=contender.label, method=contender.method, options=dict(contender.options),
        state=_state(run, stream), problem=run.problem(), checkpoints=_checkpoints(run),
        work=_work(stream, recipe.protocol) if stream else None,
        failures=tuple(Failure(_request(id, requests), str(reason)) for id, reason in failed.items()),
        cases=tuple(cases(_last_answers(run), failed)), looks=looks,
        collapse=_collapsed(stream, looks, begin) if recipe.protocol == "sequential" else None,
    )  # fmt: skip


def _state(run: Run, stream: Sequence[Any]) -> State:
    if run.finished:
        return "finished"
    if run.problem():
        return "could not be run"
    return "unfinished" if stream else "not started"


def _checkpoints(run: Run) -> tuple[Checkpoint, ...]:
    rows = sorted(run.figures(), key=lambda row: row["edits"])
    return tuple(Checkpoint(row["edits"], {k: Figure(**v) for k, v in row["figures"].items()}) for row in rows)


def _work(stream: Sequence[Mapping[str, Any]], protocol: str) -> Work:
    asked = sum(len(line["ids"]) for line in stream)
    right = sum(len(line["right"]) for line in stream)
    failed = sum(len(line["failed"]) for line in stream)
    made = asked - right - failed
    # Edits that pile up are all in the last line; those that are undone are each in their own.
    standing = stream[-1:] if protocol == "sequential" else stream
    spent = [line["seconds"] / edited for line in stream if (edited := len(line["ids"]) - len(line["right"]))]
    return Work(
        asked, right, failed,
        keys=sum(line["keys"] for line in standing),
        bytes=sum(line["bytes"] for line in standing) / made if made else None,
        seconds=statistics.median(spent) if spent else None,
    )  # fmt: skip


def _looks(stream: Sequence[Mapping[str, Any]], requests: Mapping[str, Request]) -> Iterator[Look]:
    edits = 0
    since: list[Request] = []
    for line in stream:
        edits += len(line["ids"])
        since += [_request(id, requests) for id in line["ids"]]
        if "perplexity" in line:
            value = line["perplexity"]
            yield Look(edits, value if math.isfinite(value) else None, tuple(since))
            since = []


def _collapsed(stream: Sequence[Mapping[str, Any]], looks: Sequence[Look], begin: float | None) -> Look | None:
    """The look from which on perplexity stays above twice its start; None if it does not."""
    if begin is None or not looks:
        return None
    found = collapse(stream, COLLAPSED, start=begin)
    return next((look for look in looks if found and look.edits == found.edits), None)


def _answer_files(run: Run) -> list[Path]:
    return sorted(run.path.glob("answers-*.jsonl.gz"))


def _last_answers(run: Run) -> list[Answer]:
    files = _answer_files(run)
    return [Answer.from_json(row) for row in read_lines(files[-1]) or []] if files else []


def _requests(runs: Iterable[Run]) -> dict[str, Request]:
    """Edits by id, as far as answers tell: every run meets the same ones."""
    found: dict[str, Request] = {}
    for run in runs:
        for file in _answer_files(run)[-1:]:
            for row in read_lines(file) or []:
                asked = row["question"]
                if asked["kind"] == "reliability":
                    found.setdefault(asked["edit"], Request(asked["edit"], asked["prompt"], row["expected"]))
    return found


def _request(id: str, requests: Mapping[str, Request]) -> Request:
    return requests.get(id, Request(id))


def _total(recipe: Recipe, entrants: Sequence[Entrant]) -> int | None:
    for entrant in entrants:
        if entrant.state == "finished" and entrant.work:
            return entrant.work.asked
    return None if recipe.rephrasings else recipe.n


def _missing(entrants: Sequence[Entrant], total: int | None) -> Iterator[str]:
    for entrant in entrants:
        done = entrant.work.asked if entrant.work else 0
        if entrant.state == "could not be run":
            yield f"{entrant.label} could not be run: {entrant.problem}"
        elif entrant.state == "not started":
            yield f"{entrant.label} has not been started"
        elif entrant.state == "unfinished":
            yield f"{entrant.label} has seen {done} of {total or 'its'} edits and is not finished"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
