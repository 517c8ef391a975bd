"""Questions to a model: what is asked, what the answer should be, and why it is asked.

A question without an expected answer asks whether the model still says what it said before any edit. Knows edits; knows
no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from errata.edits import Edit
from errata.errors import BadEdit, unknown_name
from errata.prompts import prompt_fields, prompt_of, user_message

Kind = Literal["reliability", "generalization", "portability", "locality", "robustness", "upstream"]
KINDS: tuple[str, ...] = get_args(Kind)
WORDING = "~"  # between an edit's id and the number of another wording of it
MUST_FOLLOW = ("reliability", "generalization", "portability", "robustness")


@dataclass(frozen=True, slots=True)
class Question:
    """One question of an evaluation.

    Attributes:
        kind: why it is asked: "reliability" (an edit's own prompt), "generalization" (its rephrases), "portability"
            (what follows from it), "robustness" (its prompt under a shift), "locality" (what it must not move),
            "upstream" (what the model knew and no edit is about).
        prompt: what the model reads.
        expected: the right answer; None where whatever the model said before is right.
        edit: id of the edit it belongs to; None for "upstream".
        about: which sort of that kind, such as "neighbour" or "typo"; empty where there is one sort.
        rival: the answer that CounterFact's comparisons set against `expected`.

    Raises: BadEdit for an empty prompt, or for a question that must follow an edit and has no expected answer.
    """

    kind: str
    prompt: str
    expected: str | None = None
    edit: str | None = None
    about: str = ""
    rival: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("kind of question", self.kind, KINDS)
        if not self.prompt.strip():
            raise BadEdit("a question's prompt is empty; fill it in")
        if self.expected is not None and not self.expected.strip():
            raise BadEdit(f"the expected answer to {self.prompt!r} is empty; fill it in or leave it out")
        if self.expected is None and self.kind in MUST_FOLLOW:
            raise BadEdit(f"the {self.kind} question {self.prompt!r} has no expected answer; add one")

    @property
    def name(self) -> str:
        """Kind and sort: "locality.neighbour"."""
        return f"{self.kind}.{self.about}" if self.about else self.kind

    def as_chat(self) -> Question:
        """Return the question with its plain text as the user's message."""
        return replace(self, prompt=user_message(self.prompt))

    def to_json(self) -> dict[str, Any]:
        """JSON values, without the fields that are empty; `prompt` is there also beside the messages it ends."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"prompt": str(self.prompt)} | prompt_fields(self.prompt)
        return {name: value for name, value in values.items() if value not in (None, "")}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Question:
        """Read a question back from its JSON values."""
        rest = {name: item for name, item in value.items() if name not in ("messages", "raw")}
        return cls(**{**rest, "prompt": prompt_of(value)})


def questions_of(edits: Iterable[Edit]) -> list[Question]:
    """What to ask about each edit: its prompt, its rephrases, what follows from it and what must not move.

    A canonical example wants a probability, not an answer: of it only what must not move is asked.

    Raises:
        BadEdit: an edit replaces words of an answer, and nobody has found out its target.
    """
    return [question for edit in edits for question in _of(edit)]


def _of(edit: Edit) -> list[Question]:
    # In CounterFact's comparison a neighbour's true answer is set against what the edit makes the model say.
    kept = [Question("locality", p.prompt, p.answer, edit.id, p.kind or "", rival=edit.target) for p in edit.locality]
    return kept if edit.goal is not None else [*_answers(edit), *kept]


def _answers(edit: Edit) -> list[Question]:
    if not edit.target:
        raise BadEdit(
            f"the edit of {edit.prompt!r} replaces words of the model's own answer and has no target to ask for; give "
            "its target, or ask about it in a sheet that it was made in"
        )
    id, truth = edit.id, edit.ground_truth
    asked = [Question("reliability", edit.prompt, edit.target, id, rival=truth)]
    asked += [Question("generalization", prompt, edit.target, id, rival=truth) for prompt in edit.rephrases]
    asked += [Question("portability", p.prompt, p.answer, id, p.kind or "") for p in edit.portability]
    return asked


def wording_of(edit: str, number: int) -> str:
    """Id of the edit that puts another wording of an edit into a stream."""
    return f"{edit}{WORDING}{number}"


def fact_of(edit: str) -> str:
    """Id of the edit that an id is another wording of: what stands or falls together counts once."""
    return edit.partition(WORDING)[0]


def distinct_prompts(questions: Sequence[Question]) -> list[str]:
    """Every prompt once, in order."""
    return list(dict.fromkeys(question.prompt for question in questions))
