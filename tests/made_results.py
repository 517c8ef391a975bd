"""Directories of results as a benchmark leaves them, made by hand: no model runs. For tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from errata.evaluate.evidence import Answer, Forced
from errata.evaluate.figures import Figure
from errata.evaluate.questions import Question
from errata.evaluate.recipe import Recipe
from errata.evaluate.results import Results

Figures = Mapping[str, Figure]


def figure(value: float, low: float | None = None, high: float | None = None, n: int = 40) -> Figure:
    """A figure; without ends its interval is 0.05 to either side."""
    return Figure(value, value - 0.05 if low is None else low, value + 0.05 if high is None else high, n, n)


UNEDITED = 100.0  # perplexity before any edit


def results(path: Path, *methods: Any, **recipe: Any) -> Results:
    """A directory without any run."""
    values = {"model": "lab:gpt", "dataset": "made", "methods": list(methods or ("grace", "ft")), "n": 4}
    return Results.start(path, Recipe.of(values | recipe), resume=False)


def stream(n: int = 4, perplexities: Sequence[float] = (), **failed: str) -> list[dict[str, Any]]:
    """One edit a line: e1, e2, … by patches of 100 bytes and a key each, in 0.5 seconds; `failed` are reasons by id."""
    lines = []
    for place in range(1, n + 1):
        id = f"e{place}"
        line: dict[str, Any] = {
            "ids": [id], "right": [], "failed": {id: failed[id]} if id in failed else {},
            "keys": place, "bytes": 100 * place, "seconds": 0.5,
        }  # fmt: skip
        lines.append(line | ({"perplexity": perplexities[place - 1]} if perplexities else {}))
    if perplexities:
        lines[0]["perplexity_before"] = UNEDITED
    return lines


def asked(id: str, said: str, expected: str = "Paris", before: str = "Rome") -> Answer:
    """What is said to an edit's own prompt."""
    return Answer(Question("reliability", f"The capital of {id} is", expected, id), expected, said, before)


def unrelated(
    prompt: str, said: str, before: str, expected: str | None = None, rival: str | None = None, nll: float = 1.0
) -> Answer:
    """What is said to a question of locality; `nll` is now that of what was said before."""
    question = Question("locality", prompt, expected, "e1", rival=rival)
    return Answer(question, expected or before, said, before, kept=Forced(nll, 1, 0))


def add(
    made: Results,
    label: str,
    checkpoints: Mapping[int, Figures],
    *,
    lines: Sequence[Mapping[str, Any]] | None = None,
    answers: Sequence[Answer] = (),
    finished: bool = True,
) -> None:
    """The run of one method: its stream, figures, last answers, and whether it came to its end."""
    (contender,) = [one for one in made.recipe.methods if one.label == label]
    run = made.run(contender)
    for line in stream() if lines is None else lines:
        run.append(line)
    if answers:
        run.write_answers(max(checkpoints), [answer.to_json() for answer in answers])
    rows = [{"edits": k, "figures": {name: f.to_json() for name, f in v.items()}} for k, v in checkpoints.items()]
    run.write("figures.json", rows)
    if finished:
        run.finish({"edit_seconds": []})


def whole(path: Path) -> Results:
    """Two finished methods over four edits: grace holds and keeps, ft collapses after the third edit."""
    made = results(path, "grace", "ft", title="A made comparison")
    made.bind({"model": "m0", "data": "d0"})
    made.note({"errata": "0.1.0", "python": "3.11.7", "started": "2026-01-01T00:00:00Z"})
    good = {
        "reliability": figure(0.95, 0.9, 0.99), "reliability.forced": figure(0.95), "reliability.tokens": figure(0.97),
        "locality": figure(0.98, 0.95, 0.99), "upstream-retention": figure(0.9),
        "upstream-retention.before": figure(0.92), "perplexity.change": figure(0.0, 0.0, 0.0),
    }  # fmt: skip
    bad = good | {
        "reliability": figure(0.5), "reliability.forced": figure(0.5), "reliability.tokens": figure(0.75),
        "locality": figure(0.2), "upstream-retention": figure(0.3), "perplexity.change": figure(1.5, 1.2, 1.9),
    }  # fmt: skip
    held = [asked(f"e{i}", "Paris") for i in range(1, 5)]
    add(made, "grace", {1: good, 4: good}, lines=stream(4, [100, 100, 100, 100]), answers=held)
    broken = [*held[:2], asked("e3", "a <b>", before="Oslo"), asked("e4", "no"), unrelated("Spain|", "Paris", "Madrid")]
    lines = stream(4, [110, 150, 250, 900], e4="the target is not reachable")
    add(made, "ft", {1: good, 4: bad}, lines=lines, answers=broken)
    return made
