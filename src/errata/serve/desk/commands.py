"""What the worker can do: each command is a function from JSON values to JSON values on one open Editor.

Knows the Editor, gates and evaluations. It does not know where commands come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from errata.editor import Editor, EditResult
from errata.edits import Edit
from errata.errors import BadConfig, BadSheet
from errata.evaluate.asking import compared
from errata.evaluate.gate import Gate
from errata.evaluate.metrics._base import METRICS, needs
from errata.evaluate.probing import evaluate, questions_about
from errata.evaluate.questions import KINDS, Question, questions_of
from errata.methods._base import METHODS
from errata.serve.desk.firings import fired
from errata.serve.desk.gate import NEIGHBOURS, Trial, hear, parse, row, told, wordings_of
from errata.serve.desk.probes import Probes

ATTEMPTS = 3  # at a change that another process got in front of
Json = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What commands work on."""

    editor: Editor
    probes: Probes


def edit(
    bench: Bench, *, edits: Sequence[Json], method: str, options: Json, dry_run: bool, gate: str | None, who: str | None
) -> Json:
    """Fit, check, judge and, unless it is a dry run, record edits; all of them together."""
    editor = bench.editor
    _check_method(method, editor.editable.task)
    batch = [Edit.from_json(one) for one in edits]
    judge = parse(gate) if gate else Gate(())
    editor.who = who

    def attempt() -> Json:
        editor.refresh()
        trial = Trial(editor, batch, bench.probes.questions(), judge, wide=dry_run)
        receipt = editor.edit(batch, method, dry_run=dry_run, accept=trial.judge, **options)
        before, after = trial.said()
        return {
            "ids": receipt.ids, "results": [_result(one) for one in receipt.results], "method": receipt.method,
            "seconds": receipt.seconds, "dry_run": dry_run, "before": before, "after": after,
            "effects": trial.effects() if dry_run else [], "gate": [verdict.to_json() for verdict in trial.verdicts],
            "head": editor.state.head,
        }  # fmt: skip

    return _again(editor, attempt)


def change(bench: Bench, *, kind: str, ids: Sequence[str], dry_run: bool, who: str | None) -> Json:
    """Undo or redo edits, all of them in one event."""
    editor = bench.editor
    editor.who = who

    def attempt() -> Json:
        turn = editor.undo if kind == "undo" else editor.redo
        outcome = turn(*ids, dry_run=dry_run)
        return {
            "changed": list(outcome.changed), "unchanged": dict(outcome.unchanged), "notes": list(outcome.notes),
            "dry_run": dry_run, "head": editor.state.head,
        }  # fmt: skip

    return _again(editor, attempt)


def effects(bench: Bench, *, id: str) -> Json:
    """What one edit does: everything asked as the model is and as it would be without the edit."""
    editor = bench.editor
    editor.refresh()
    state = editor.state.find(id)
    made = Edit.from_json({**state.edit, "id": id})
    own = questions_of([made])
    wordings = {made.prompt, *made.rephrases}
    active = [one for one in editor.state.active() if one.prompt not in wordings]
    edited = wordings | {one.prompt for one in active}
    around = [Question("reliability", one.prompt, one.target, f"={one.id}") for one in active[-NEIGHBOURS:]]
    around += [probe for probe in bench.probes.questions() if probe.prompt not in edited]
    asked = [*own, *around]
    after = hear(editor.editable, asked)
    with editor.without(id) as gone:
        before = hear(editor.editable, asked) if gone else after
    answers = compared(asked, before, after)
    rows = [row(answer) for answer in answers[len(own) :]]
    firings = fired(editor.editable, made.prompt, wordings_of(editor)) if gone else []
    return {
        "id": id, "status": state.status, "together": list(gone),
        **told(made, answers[: len(own)], rows, firings), "head": editor.state.head,
    }  # fmt: skip


def evaluation(bench: Bench, *, metrics: Sequence[str] | None) -> Json:
    """Figures over the questions of the edits in force and the sheet's probes."""
    editor = bench.editor
    editor.refresh()
    names = list(metrics) if metrics else [name for name in METRICS.names() if set(_needs(name)) <= set(KINDS)]
    changed = {edit.prompt for edit in editor.state.active()}
    probes = [probe for probe in bench.probes.questions() if probe.prompt not in changed]
    asked = [*questions_about(editor.state), *probes]
    if not asked:
        raise BadConfig("there is nothing to ask: make an edit, or add probes (POST /v1/probes)")
    return {"head": editor.state.head, **evaluate(editor, asked, names).to_json()}


COMMANDS: dict[str, Callable[..., Json]] = {
    "edit": edit, "change": change, "effects": effects, "evaluate": evaluation,
}  # fmt: skip


def _check_method(name: str, task: str) -> None:
    """Raises: UnknownName, BadConfig for a method of other models."""
    tasks = METHODS.get(name).meta["tasks"]
    if task not in tasks:
        raise BadConfig(f"'{name}' edits {' and '.join(tasks)} models, and this is a {task} model; see /v1/methods")


def _needs(name: str) -> tuple[str, ...]:
    METRICS.get(name)  # what a metric needs is known once it is loaded
    return needs(name)


def _result(result: EditResult) -> Json:
    return dataclasses.asdict(result)


def _again(editor: Editor, attempt: Callable[[], Json]) -> Json:
    """A change that another process got in front of starts anew on what is there then."""
    for _ in range(ATTEMPTS - 1):
        head = editor.state.head
        try:
            return attempt()
        except BadSheet:
            if editor.sheet.state().head == head:
                raise
    return attempt()
