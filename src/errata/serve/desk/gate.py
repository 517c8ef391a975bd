"""The gate of a single edit, and what a trial shows of it: questions asked before the edit and with its patch in force.

The figures and the conditions are those of `errata.evaluate`; here they compare the model just before the edit with the
model under it, so that an edit answers for what it moved itself. Knows questions and answers; records nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from errata.editor import Editor, EditResult
from errata.edits import Edit
from errata.errors import BadConfig, ErrataError
from errata.evaluate.asking import Heard, compared, free_answers, listen
from errata.evaluate.evidence import Answer, Evidence
from errata.evaluate.gate import Gate, Verdict
from errata.evaluate.metrics._base import measure, needs
from errata.evaluate.questions import KINDS, MUST_FOLLOW, Question, distinct_prompts, questions_of
from errata.models import EditableModel
from errata.patches.base import in_force
from errata.patches.records import RecordedPatch
from errata.serve.desk.firings import fired
from errata.serve.desk.wording import describe_prompt, described, prompt_key, prompt_keys

NEIGHBOURS = 100  # other edits in force whose prompts are asked, the newest ones
SHOWN = 20  # answers that moved, in a refusal
TOKENS = 24  # of a free answer
CHAT_TOKENS = 128  # of a free answer to an edit's own questions in chat, where answers are sentences


class Refused(ErrataError):
    """An edit that was fitted and holds, and that moved more than its gate allows. `detail` says what."""

    exit_code = 1

    def __init__(self, message: str, detail: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.detail = dict(detail)


def parse(text: str) -> Gate:
    """A gate that one edit can be held to. Raises: BadConfig, UnknownName."""
    gate = Gate.parse(text)
    for name in gate.metrics:
        if unread := [need for need in needs(name) if need not in KINDS]:
            raise BadConfig(
                f"the gate of an edit asks questions, and {name} reads {', '.join(unread)}; use `errata eval --gate`"
            )
    return gate


class Trial:
    """One batch of edits on trial.

    `answers` of the questions, before and under the patch, are there once `judge` was called by the Editor, which it
    is while the patch is in force; what `judge` raises makes the Editor forget the patch.
    """

    def __init__(
        self, editor: Editor, edits: Sequence[Edit], probes: Sequence[Question], gate: Gate, *, wide: bool
    ) -> None:
        """Ask everything before the edit.

        Args:
            edits, probes: with prompts as the editor reads them.
            wide: ask other edits and the sheet's probes too, though no gate needs them.
        """
        self._model, self._gate, self._wide = editor.editable, gate, wide
        self._floor = CHAT_TOKENS if editor.in_chat else TOKENS
        self._known = wordings_of(editor)
        self._edits = [replace(edit, id=str(place)) for place, edit in enumerate(edits)]
        own = questions_of(self._edits)
        told = wide or gate.conditions  # else the edits' own prompts are all that anybody hears of
        self._own = own if told else [question for question in own if question.kind == "reliability"]
        self._others = self._around(editor, probes) if told else []
        self._asked = [*self._own, *self._others]
        self._count = len(editor.state.active()) + len(edits)
        self._before: list[Heard] = self._listen()
        self.answers: list[Answer] = compared(self._asked, self._before, self._before)
        self.verdicts: list[Verdict] = []
        self.fired: list[list[dict[str, Any]]] = [[] for _ in edits]

    def _around(self, editor: Editor, probes: Sequence[Question]) -> list[Question]:
        """What no edit of the batch is about: other edits in force, and the sheet's probes that none changes."""
        wordings = prompt_keys(prompt for edit in self._edits for prompt in (edit.prompt, *edit.rephrases))
        return around(editor, wordings, probes)

    def judge(self, results: Sequence[EditResult]) -> None:
        """Ask everything again under the patch. Raises: Refused."""
        now = self._listen(self._before)
        self.answers = compared(self._asked, self._before, now)
        if self._wide and any(isinstance(patch, RecordedPatch) for patch in in_force(self._model)):
            known = self._known | {one.id: (one.prompt, one.target) for one in results}
            self.fired = [fired(self._model, edit.prompt, known) for edit in self._edits]
        if not self._gate.conditions:
            return
        latest = frozenset(str(edit.id) for edit in self._edits)
        figures = measure(Evidence(self._count, self.answers, latest=latest), self._gate.metrics)
        self.verdicts = self._gate.check(figures)
        if failed := [verdict for verdict in self.verdicts if not verdict.passed]:
            reasons = "; ".join(f"{verdict.condition}: {verdict.reason}" for verdict in failed)
            detail = {
                "gate": [verdict.to_json() for verdict in self.verdicts],
                "probes": [row(answer) for answer in self.answers if moved(answer)][:SHOWN],
                "ids": [result.id for result in results],
            }
            raise Refused(f"the gate refused the edit and nothing was recorded: {reasons}", detail)

    def _listen(self, before: list[Heard] | None = None) -> list[Heard]:
        """Free answers, and scores where a gate may read them: every forward pass is time that answers wait for."""
        own, count = room(self._model, self._own, self._floor), len(self._own)
        others = room(self._model, self._others)
        if not self._gate.conditions:
            return [*hear(self._model, self._own, own), *hear(self._model, self._others, others)]
        heard = listen(self._model, self._own, before and before[:count], max_new_tokens=own)
        return heard + listen(self._model, self._others, before and before[count:], max_new_tokens=others)

    def said(self) -> tuple[list[str], list[str]]:
        """The answers to the edits' own prompts: before, and under the patch."""
        own = [answer for answer in self.answers[: len(self._own)] if answer.question.kind == "reliability"]
        return [answer.before for answer in own], [answer.said for answer in own]

    def earlier(self) -> list[str | None]:
        """Return for every edit what the model answered before it; None for a canonical example."""
        said = {answer.question.edit: answer.before for answer in self.answers if answer.question.kind == "reliability"}
        return [said.get(edit.id) for edit in self._edits]

    def effects(self) -> list[dict[str, Any]]:
        """What each edit does, as `/v1/edits/{id}/effects` tells it."""
        others = [row(answer) for answer in self.answers[len(self._own) :]]
        return [
            told(edit, [a for a in self.answers if a.question.edit == edit.id], others, self.fired[place])
            for place, edit in enumerate(self._edits)
        ]


def around(editor: Editor, wordings: set[Any], probes: Sequence[Question]) -> list[Question]:
    """Return the questions that edits with these `wordings` (`prompt_key`) should not move.

    Those are the newest other edits in force, and the sheet's probes that no edit changes.
    """
    active = [edit for edit in editor.state.active() if prompt_key(edit.prompt) not in wordings]
    edited = wordings | prompt_keys(edit.prompt for edit in active)
    others = [Question("reliability", e.prompt, e.target, f"={e.id}") for e in active[-NEIGHBOURS:]]
    return others + [probe for probe in probes if prompt_key(probe.prompt) not in edited]


def room(model: EditableModel, questions: Sequence[Question], floor: int = TOKENS) -> int:
    """Return how many tokens free answers may have: enough for the longest one that is expected, and for its end."""
    texts = list({question.expected for question in questions if question.expected})
    rows: Any = model.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    return max(floor, *(len(row) + 2 for row in rows), 0)


def hear(model: EditableModel, questions: Sequence[Question], tokens: int = TOKENS) -> list[Heard]:
    """What the model says to each question in so many tokens, without scores."""
    said = free_answers(model, distinct_prompts(questions), max_new_tokens=tokens)
    return [Heard(said[q.prompt], q.expected or "", None, None, None) for q in questions]


def told(edit: Edit, answers: Sequence[Answer], around: list[dict[str, Any]], fired: Any) -> dict[str, Any]:
    """An edit's effects: its own prompt, its rephrases, what follows, what must not move, and everything around."""
    rows = {kind: [row(answer) for answer in answers if answer.question.kind == kind] for kind in KINDS}
    own = next(iter(rows["reliability"]), {"before": "", "after": ""})  # a canonical example has no answer
    return {
        **describe_prompt(edit.prompt), "target": edit.target, "before": own["before"], "after": own["after"],
        "rephrases": rows["generalization"], "portability": rows["portability"], "locality": rows["locality"],
        "neighbours": around, "fired": fired,
    }  # fmt: skip


def wordings_of(editor: Editor) -> dict[str, tuple[str, str]]:
    """Prompt and target of every edit of the sheet, by its id."""
    return {edit.id: (edit.prompt, edit.target) for edit in editor.state.edits.values()}


def row(answer: Answer) -> dict[str, Any]:
    """A question with its answers before and after; with `id` where it is another edit's own."""
    question = answer.question
    values = described({"before": answer.before, "after": answer.said, "moved": moved(answer)}, question.prompt)
    if question.kind in MUST_FOLLOW:
        values["expected"] = answer.expected
    id = str(question.edit or "")
    return values | ({"id": id[1:]} if id.startswith("=") else {"kind": question.about or question.kind})


def moved(answer: Answer) -> bool:
    return answer.said != answer.before
