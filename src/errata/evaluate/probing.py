"""Evaluating a sheet: questions asked with its edits in force and without any, and the figures of the answers.

Knows the Editor and files of questions; which method made the edits it never asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from errata import datasets
from errata.editor import Editor
from errata.edits import Edit
from errata.errors import BadEdit, did_you_mean
from errata.evaluate.asking import compared, listen
from errata.evaluate.evidence import Answer, Evidence
from errata.evaluate.figures import Figure
from errata.evaluate.grading import exact
from errata.evaluate.metrics._base import METRICS, measure, needs
from errata.evaluate.questions import KINDS, MUST_FOLLOW, Question, questions_of
from errata.evaluate.texts import Reference, Weights, general_texts
from errata.formats import NATIVE, Record, located, read_records, resolve_format
from errata.journal.history import State
from errata.patches.original import patches_off
from errata.prompts import identity, prompt_of

FIELDS = ("prompt", "messages", "raw", "answer", "kind", "about")  # of a probe in a file
TEXT_FIELDS = ("prompt", "answer", "kind", "about")
ANSWER_TOKENS, CHAT_TOKENS = 24, 64  # longest free answer by default, of plain text and of a chat model
TEXTS = 32  # stretches of general text read by default
CONTINUED = 50  # edits whose prompts are continued at length, at most


@dataclass(frozen=True)
class Report:
    """What was seen, and the figures of it. `unmeasured` says of each metric without a figure what it lacked."""

    evidence: Evidence
    figures: Mapping[str, Figure]
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    def broken(self, name: str | None = None) -> list[Answer]:
        """Answers that are not what they should be, the most surprising first; those that a metric reads, if named.

        `name` may be a part that is a sort of question, such as "locality.neighbour".
        """
        kinds, about = (KINDS, "") if name is None else (needs(name), name.partition(".")[2])
        asked = self.evidence.of(*kinds)
        wrong = [answer for answer in asked if not as_it_should(answer)]
        sort = [answer for answer in wrong if answer.question.about == about]
        known = any(answer.question.about == about for answer in asked)
        return sorted(sort if about and known else wrong, key=_surprise, reverse=True)

    def to_json(self) -> dict[str, Any]:
        """Figures, and every answer they rest on."""
        return {
            "edits": self.evidence.edits,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "unmeasured": dict(self.unmeasured),
            "answers": [answer.to_json() for answer in self.evidence.answers],
        }


def evaluate(
    editor: Editor,
    questions: Sequence[Question],
    metrics: Sequence[str] | None = None,
    *,
    texts: Sequence[str] | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Ask an editor's model with its edits and without them; edits and model are as they were afterwards.

    Args:
        questions: a plain prompt is read as the editor does, in chat as the user's message.
        metrics: by name; by default all but those that read long continuations, which take long to write.
        texts: general text for the metrics that read it; prose in the package by default.
        max_new_tokens: the longest free answer; by default `answer_tokens`.
        seed: of sampled continuations.
        progress: show bars.

    Raises: UnknownName (no such metric), BadEdit (a question too long for the model, or an answer that is no label).
    """
    names = list(metrics) if metrics is not None else default_metrics()
    wanted = {need for name in names for need in needs(name)}
    model, questions = editor.editable, [replace(one, prompt=editor.read(one.prompt)) for one in questions]
    max_new_tokens = max_new_tokens or answer_tokens(editor)
    bars = ("without edits", "with edits") if progress else (None, None)
    with patches_off(model):
        before = listen(model, questions, max_new_tokens=max_new_tokens, progress=bars[0])
    now = listen(model, questions, before, max_new_tokens=max_new_tokens, progress=bars[1])
    reads = "texts" in wanted and model.task == "causal"
    reference = Reference(model, (texts or general_texts(model, TEXTS)) if reads else ())
    own = [question for question in questions if question.kind == "reliability"][:CONTINUED]
    units = [unit for unit in editor.state.units if unit.active]
    evidence = Evidence(
        edits=len(editor.state.active()),
        answers=compared(questions, before, now),
        texts=reference.score(),
        continuations=reference.continued(own, seed=seed) if "continuations" in wanted else (),
        moved=Weights(model).moved() if "weights" in wanted else None,
        latest=frozenset(units[-1].active if units else ()),
    )
    figures = measure(evidence, names)
    return Report(evidence, figures, _unmeasured(names, figures, evidence, model.task))


def answer_tokens(editor: Editor) -> int:
    """Return how many tokens a free answer may have by default: a chat model writes sentences."""
    return CHAT_TOKENS if editor.in_chat else ANSWER_TOKENS


def default_metrics() -> list[str]:
    """All metrics but those that read long continuations."""
    return [name for name in METRICS.names() if "continuations" not in needs(name)]


def questions_about(state: State) -> list[Question]:
    """What to ask about the edits in force: their prompts, rephrases, consequences, and what must not move.

    A prompt that another edit in force changes, or is a rephrase of, says nothing of locality and is left out.
    """
    return _fair(questions_of(_in_force(state)), state)


def read_questions(name: str, state: State, *, chat: bool = False) -> list[Question]:
    """Questions of a file of probes, or about the edits of a file or a data set.

    A probe is one JSON object a line: `prompt` or `messages`, and if need be `answer`, `kind` ("upstream" if left
    out), `about`, and `raw`. An edit that is in force counts under its id in the sheet.

    Args:
        chat: whether a plain prompt is a user message, as `Editor.in_chat` says.

    Raises:
        BadEdit: the file or a record is malformed; the message starts with "FILE:LINE:".
        UnknownName: no such data set.
    """
    if name not in datasets.names() and Path(name).is_file():
        records = read_records(name)
        if _are_probes(records):
            probes = [_probe(record) for record in records]
            return [probe.as_chat() for probe in probes] if chat else probes
    edits = datasets.open(name).edits()
    return _fair(questions_of(_identified([edit.as_chat() for edit in edits] if chat else edits, state)), state)


def must_follow(answer: Answer) -> bool:
    """Whether an edit decides the answer; if not, nothing should have moved it."""
    return answer.question.kind in MUST_FOLLOW


def as_it_should(answer: Answer) -> bool:
    """Whether an answer follows its edit, or is still what it was where no edit should have moved it."""
    return exact(answer.said, answer.expected) if must_follow(answer) else answer.said == answer.before


def _are_probes(records: Sequence[Record]) -> bool:
    first = records[0].value
    asks = isinstance(first, dict) and ("target" in first or "replace" in first)
    return resolve_format("auto", records) == NATIVE and not asks


def _probe(record: Record) -> Question:
    with located(record.place):
        value = record.value
        texts = isinstance(value, dict) and all(isinstance(value.get(name, ""), str) for name in TEXT_FIELDS)
        if not texts:
            known = f"{', '.join(TEXT_FIELDS)}; messages or raw"
            raise BadEdit(f"a probe is a JSON object of texts ({known}); see `errata eval --help`")
        for name in value:
            if name not in FIELDS:
                raise BadEdit(
                    f"a probe has no field '{name}'.{did_you_mean(name, FIELDS)} Use only: {', '.join(FIELDS)}"
                )
        kind = value.get("kind", "upstream")
        if kind not in KINDS:
            raise BadEdit(f"no kind of question is '{kind}'.{did_you_mean(kind, KINDS)} Use one of: {', '.join(KINDS)}")
        return Question(kind, _asked(value), value.get("answer"), about=value.get("about", ""))


def _asked(value: Mapping[str, Any]) -> str:
    """The prompt of a probe. Raises: BadEdit."""
    if not isinstance(value.get("raw", False), bool):
        raise BadEdit(f"'raw' of a probe is {value['raw']!r}; it must be true or false")
    if "messages" in value and (value.get("prompt") or value.get("raw")):
        raise BadEdit("a probe has messages, and a prompt or raw too; give the messages alone")
    return prompt_of({"prompt": "", **value})


def _in_force(state: State) -> list[Edit]:
    return [Edit.from_json(edit.edit) for edit in state.active()]


def _fair(questions: Iterable[Question], state: State) -> list[Question]:
    """Without questions that the edits in force answer otherwise by intention."""
    edited = {edit.prompt for edit in _in_force(state)}
    changed = edited.union(*(edit.rephrases for edit in _in_force(state)))
    barred = {kind: edited if kind in MUST_FOLLOW else changed for kind in KINDS} | {"reliability": set()}
    return [question for question in questions if question.prompt not in barred[question.kind]]


def _identified(edits: Iterable[Edit], state: State) -> list[Edit]:
    """Edits under the id that they have in the sheet, else their own, else their prompt.

    Those that replace words of an answer have the target that this gave when they were made.
    """
    active = _in_force(state)
    known = {(made.prompt, made.target): made.id for made in active}
    targets = {(made.prompt, made.replace): made.target for made in active if made.replace}
    found = [replace(e, target=e.target or targets.get((e.prompt, e.replace), "")) for e in edits]
    return [replace(e, id=known.get((e.prompt, e.target)) or e.id or identity(e.prompt)) for e in found]


def _surprise(answer: Answer) -> float:
    """Nats a token of the answer that should stand; 0 where that was not scored."""
    scored = answer.forced if must_follow(answer) else answer.kept
    nats = scored.nll / scored.tokens if scored is not None else 0.0
    return math.inf if math.isnan(nats) else nats


def _unmeasured(names: Sequence[str], figures: Mapping[str, Figure], evidence: Evidence, task: str) -> dict[str, str]:
    """For each metric that gave no figure at all, what was missing."""
    measured = {name.partition(".")[0] for name in figures}
    return {name: _lacking(needs(name), evidence, task) for name in names if name not in measured}


def _lacking(wanted: Sequence[str], evidence: Evidence, task: str) -> str:
    if task != "causal" and {"texts", "continuations"} & set(wanted):
        return "needs a causal model"
    if "continuations" in wanted:
        return "there are no reference texts" if evidence.continuations else "no edit's own prompt was asked"
    unasked = [kind for kind in wanted if kind in KINDS and not evidence.of(kind)]
    if unasked:
        return f"no {' or '.join(unasked)} question was asked"
    return "nothing it could be measured by was asked"
