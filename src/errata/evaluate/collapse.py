"""Collapse and forgetting, read from the record of a run: which edit ruined the model, and when each fact was lost.

Perplexity is the collapse monitor of Yang et al. (2024, arXiv:2402.09656); a gradual loss of edited facts that ends at
a "disabling edit" is the finding of Gupta et al. (2024, arXiv:2401.07453). Knows runs and their files; no method. What
is not in the record, such as a moment between two looks, it cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from errata.edit_files import write_edits
from errata.edits import Edit
from errata.errors import BadConfig
from errata.evaluate.evidence import Answer
from errata.evaluate.grading import exact
from errata.evaluate.recipe import Contender, Recipe
from errata.evaluate.results import Run
from errata.evaluate.runner import check, run

Line = Mapping[str, Any]  # a batch in a run's stream; "perplexity" stands in those at which the model was watched
WATCHED = 8  # stretches of general text that a look reads
TRACKED = "weight-distance.per-element"  # what studies of forgetting follow: ||W - W0|| / number of elements


@dataclass(frozen=True)
class Collapse:
    """The disabling edit: where perplexity went up and did not come down again.

    Attributes:
        suspects: ids of the edits that were made since the last look that found the model whole; the last batch alone
            where perplexity is watched after every batch.
        edits: how many edits had been made by then.
        perplexity: at that look.
        start: what it is held against.
    """

    suspects: tuple[str, ...]
    edits: int
    perplexity: float
    start: float


@dataclass(frozen=True)
class Hard:
    """A single edit and the perplexity that the model had with nothing else in force."""

    edit: str
    perplexity: float


@dataclass(frozen=True)
class Life:
    """How long an edit held.

    Attributes:
        edit: its id.
        made_at: how many edits had been made once it was.
        lost_at: after how many edits it was first found not to hold; None if it was never found so.
    """

    edit: str
    made_at: int
    lost_at: int | None


def collapse(lines: Sequence[Line], factor: float = 2.0, *, start: float | None = None) -> Collapse | None:
    """The first look at which perplexity is above `factor` times `start` and stays above to the end of the stream.

    Args:
        lines: the stream of a sequential run with `monitor` (`Run.stream()`).
        start: perplexity of the unedited model; by default what the run saw of it before its first batch.

    None if there is no such look. A perplexity that is no number counts as above. Raises: BadConfig (nothing watched).
    """
    looks = _looks(lines)
    bound = start if start is not None else float(lines[0].get("perplexity_before", looks[0][1]))
    whole = [place for place, (_, perplexity) in enumerate(looks) if perplexity <= factor * bound]
    first = whole[-1] + 1 if whole else 0
    if first == len(looks):
        return None
    since = looks[first - 1][0] + 1 if first else 0
    at, perplexity = looks[first]
    suspects = tuple(id for line in lines[since : at + 1] for id in _made(line))
    return Collapse(suspects, sum(len(line["ids"]) for line in lines[: at + 1]), perplexity, bound)


def hardest(lines: Sequence[Line], n: int | None = None) -> list[Hard]:
    """Edits of a single-protocol run with `monitor: 1`, those that raised perplexity most first; the first `n`, or all.

    Edits that failed or that were right already changed nothing and are left out. Raises: BadConfig.
    """
    watched = [(lines[place], perplexity) for place, perplexity in _looks(lines)]
    found = [Hard(id, perplexity) for line, perplexity in watched for id in _made(line)]
    ordered = sorted(found, key=lambda hard: math.inf if math.isnan(hard.perplexity) else hard.perplexity, reverse=True)
    return ordered[:n]


def hard_edits(
    model: str,
    edits: Sequence[Edit],
    method: str,
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> list[Hard]:
    """Make every edit on the model as it came, and rank them by the perplexity they leave, highest first.

    The search by which HardEdit was found (Yang et al., 2024): single edits that ruin a model, with which methods can
    then be tried. It is the protocol "single" with a look after every edit; `out` keeps the edits and the results, and
    the same call goes on where it was interrupted. Edits without an id are numbered from 1 in the given order.

    Args:
        model: lab model, directory or hub id of a causal model.
        options: fields of the method's Config.

    Raises: UnknownName, BadConfig, BadModel, BadEdit; BadConfig for what the method itself cannot do on this model.
    """
    folder = Path(out)
    recipe = Recipe(
        model=model, dataset=str(folder / "edits.jsonl"), methods=(Contender(method, method, options or {}),),
        protocol="single", monitor=1, upstream_n=0, metrics=("reliability",), texts=WATCHED,
    )  # fmt: skip
    check(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    write_edits(folder / "edits.jsonl", [_bare(edit, place) for place, edit in enumerate(edits, start=1)])
    results = run(recipe, folder / "results", resume=True, progress=progress)
    if problems := results.problems():
        raise BadConfig(f"{method} cannot be used: {problems[method]}")
    return hardest(results.run(recipe.methods[0]).stream())


def forgetting(run: Run) -> list[Life]:
    """When each edit of a sequential run was made, and at which checkpoint it was first found lost, in order.

    The fact forgetting of Gupta et al. (2024). An edit is lost when its own prompt is no longer freely answered with
    the target. Edits that failed, or whose answer was right before them, are left out. Every checkpoint must have asked
    about every edit (`sample: 0`). Raises: BadConfig where one has not.
    """
    made = _moments(run.stream())
    lost: dict[str, int] = {}
    for moment in sorted(row["edits"] for row in run.figures()):
        held = _held(run, moment)
        for id in (id for id, made_at in made.items() if made_at <= moment):
            if id not in held:
                raise BadConfig(f"edit {id} was not asked about after {moment} edits; run the recipe with sample: 0")
            if not held[id]:
                lost.setdefault(id, moment)
    return [Life(id, made_at, lost.get(id)) for id, made_at in made.items()]


def track(run: Run, name: str = TRACKED) -> list[tuple[int, float]]:
    """A figure at every checkpoint that has it, with the number of edits by then; the weights' drift by default."""
    return [(row["edits"], row["figures"][name]["value"]) for row in run.figures() if name in row["figures"]]


def _looks(lines: Sequence[Line]) -> list[tuple[int, float]]:
    """Where in the stream the model was watched, and its perplexity there."""
    found = [(place, float(line["perplexity"])) for place, line in enumerate(lines) if "perplexity" in line]
    if not found:
        raise BadConfig("the run did not watch perplexity; run the recipe with monitor: 1 and texts")
    return found


def _made(line: Line) -> Iterable[str]:
    """Ids of a batch whose edits are in force."""
    return (id for id in line["ids"] if id not in line["failed"] and id not in line["right"])


def _moments(lines: Sequence[Line]) -> dict[str, int]:
    """After how many edits of the stream each edit was in force, in order."""
    made: dict[str, int] = {}
    count = 0
    for line in lines:
        count += len(line["ids"])
        made |= dict.fromkeys(_made(line), count)
    return made


def _held(run: Run, moment: int) -> dict[str, bool]:
    """Whether each edit that was asked about at a checkpoint held."""
    answers = [Answer.from_json(row) for row in run.answers(moment) or []]
    own = [answer for answer in answers if answer.question.kind == "reliability"]
    return {str(answer.question.edit): exact(answer.said, answer.expected) for answer in own}


def _bare(edit: Edit, place: int) -> Edit:
    """The edit without what would be asked beside it: perplexity alone is wanted here."""
    return replace(edit, id=edit.id or f"{place:06d}", rephrases=(), locality=(), portability=())
