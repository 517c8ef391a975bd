"""What the worker can do: each command is a function from JSON values to JSON values on one open Editor.

Knows the Editor, gates and evaluations. It does not know where commands come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from errata.editor import Editor, EditResult
from errata.editor.choosing import AUTO
from errata.editor.replacing import resolve_replacements
from errata.edits import Edit
from errata.errors import BadConfig, BadEdit, BadSheet
from errata.evaluate.asking import Heard, compared
from errata.evaluate.gate import Gate
from errata.evaluate.metrics._base import METRICS, needs
from errata.evaluate.probing import evaluate, questions_about
from errata.evaluate.questions import KINDS, questions_of
from errata.methods._base import METHODS
from errata.progress import Event
from errata.serve.desk.desk import BadField
from errata.serve.desk.firings import fired
from errata.serve.desk.gate import CHAT_TOKENS, TOKENS, Trial, around, hear, parse, room, row, told, wordings_of
from errata.serve.desk.probes import Probes
from errata.serve.desk.wording import described, prompt_key, prompt_keys, read_probes

ATTEMPTS = 3  # at a change that another process got in front of
Json = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What commands work on, and whom they tell how far they are."""

    editor: Editor
    probes: Probes
    progress: Callable[[Event], object] | None = None


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
        asked = _resolved(editor, batch)
        trial = Trial(editor, asked, read_probes(editor, bench.probes.questions()), judge, wide=dry_run)
        receipt = editor.edit(
            asked, method, dry_run=dry_run, accept=trial.judge, progress=bench.progress or False, **options
        )
        before, after = trial.said()
        results = [_result(one, was) for one, was in zip(receipt.results, trial.earlier(), strict=True)]
        return {
            "ids": receipt.ids, "results": results, "method": receipt.method,
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
    wordings = prompt_keys([made.prompt, *made.rephrases])
    others = around(editor, wordings, read_probes(editor, bench.probes.questions()))
    asked, model = [*own, *others], editor.editable
    floor = CHAT_TOKENS if editor.in_chat else TOKENS
    rooms = room(model, own, floor), room(model, others)

    def heard() -> list[Heard]:
        return [*hear(model, own, rooms[0]), *hear(model, others, rooms[1])]

    after = heard()
    with editor.without(id) as gone:
        before = heard() if gone else after
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
    changed = prompt_keys(edit.prompt for edit in editor.state.active())
    probes = read_probes(editor, bench.probes.questions())
    probes = [probe for probe in probes if prompt_key(probe.prompt) not in changed]
    asked = [*questions_about(editor.state), *probes]
    if not asked:
        raise BadConfig("there is nothing to ask: make an edit, or add probes (POST /v1/probes)")
    longest = room(editor.editable, asked, CHAT_TOKENS if editor.in_chat else TOKENS)
    report = evaluate(editor, asked, names, max_new_tokens=longest)
    told = report.to_json()
    for line, answer in zip(told["answers"], report.evidence.answers, strict=True):
        line["question"] = described(line["question"], answer.question.prompt)
    return {"head": editor.state.head, **told}


COMMANDS: dict[str, Callable[..., Json]] = {
    "edit": edit, "change": change, "effects": effects, "evaluate": evaluation,
}  # fmt: skip


def _check_method(name: str, task: str) -> None:
    """Raises: UnknownName, BadConfig for a method of other models."""
    if name == AUTO:
        return
    tasks = METHODS.get(name).meta["tasks"]
    if task not in tasks:
        raise BadConfig(f"'{name}' edits {' and '.join(tasks)} models, and this is a {task} model; see /v1/methods")


def _needs(name: str) -> tuple[str, ...]:
    METRICS.get(name)  # what a metric needs is known once it is loaded
    return needs(name)


def _resolved(editor: Editor, edits: Sequence[Edit]) -> list[Edit]:
    """Return edits as the sheet's model reads them, those that replace words with their target.

    Raises: BadField where an answer does not hold the words.
    """
    read = [editor.read_edit(one) for one in edits]
    try:
        return resolve_replacements(editor.editable, read)
    except BadEdit as error:
        places = [place for place, one in enumerate(read) if one.replace and not one.target]
        raise BadField(str(error), f"edits.{places[0]}.replace" if len(places) == 1 else "edits") from None


def _result(result: EditResult, was: str | None) -> Json:
    return described(dataclasses.asdict(result), result.prompt) | {"was": was}


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
