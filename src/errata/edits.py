"""An edit as plain data: what is asked, what the answer must become, and how to tell whether it did.

Knows what makes an edit valid, and its JSON form. It knows no file, no model, no method and no tensor.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_args

from errata.errors import BadEdit, did_you_mean

Goal = Literal["raise", "lower", "balance", "contrast"]
GOALS: tuple[Goal, ...] = get_args(Goal)
PAIRED = ("balance", "contrast")  # goals of a target and a rival


@dataclass(frozen=True, slots=True)
class Probe:
    """A question, and the answer it is expected to have; None where whatever the model said before is right.

    Attributes:
        prompt: what the model reads.
        answer: what it must say.
        kind: what the question looks at, by which scores are told apart. Of locality: "neighbour" (same
            relation and answer, another subject), "same_subject" (another relation), "distractor" (a
            neighbour after the edited fact), "forgetfulness" (another answer of a one-to-many relation),
            "unrelated". Of portability: "one_hop" (a fact about the new answer), "alias" (another name of the
            subject), "logical" (what the relation entails, such as its inverse), "inverse". Or any word of
            your own.

    Raises:
        BadEdit: a text is empty or no valid Unicode.
    """

    prompt: str
    answer: str | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        _check_text(self.prompt, "a probe's prompt")
        _check_text(self.answer, "a probe's answer", optional=True)
        _check_text(self.kind, "a probe's kind", optional=True)

    def to_json(self) -> dict[str, Any]:
        """The probe as JSON values, without the fields that are None; from_json reads it back."""
        values = {"prompt": self.prompt, "answer": self.answer, "kind": self.kind}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, value: Any) -> Probe:
        """A probe from its JSON form. Raises BadEdit for anything that is not exactly that."""
        return cls(**_known_fields(value, cls, "a probe"))


@dataclass(frozen=True, slots=True)
class Edit:
    """A request: when asked `prompt`, answer `target`. Or, with a goal, a canonical example (arXiv:2402.06155).

    Attributes:
        prompt: what the model reads; plain text, braces included.
        target: what it must say, for a classifier the name of a label. Of an example: how the text may go on.
        subject: whom the edit is about, as written in the prompt; some methods need it.
        ground_truth: what the target replaces.
        rephrases: other ways to ask, which must follow the edit.
        locality: questions that must not.
        id: a name to undo the edit by.
        portability: questions with the answers that must follow from the edit.
        goal: None for an answer; for an example what is to become of the target's probability after the prompt:
            "raise" it, "lower" it, "balance" it with the rival's, or "contrast": lift it above the rival's.
        rival: the other way to go on, of "balance" and "contrast"; with a rival and no goal it is "contrast".

    Raises:
        BadEdit: a text is empty or no valid Unicode, the subject does not occur in the prompt, a portability probe
            has no answer, or goal and rival do not go together.
    """

    prompt: str
    target: str
    subject: str | None = None
    ground_truth: str | None = None
    rephrases: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    id: str | None = None
    portability: tuple[Probe, ...] = ()
    goal: Goal | None = None
    rival: str | None = None

    def __post_init__(self) -> None:
        _check_text(self.prompt, "the prompt")
        _check_text(self.target, "the target")
        _check_text(self.subject, "the subject", optional=True)
        _check_text(self.ground_truth, "the ground truth", optional=True)
        _check_text(self.id, "the id", optional=True)
        self._check_goal()
        object.__setattr__(self, "rephrases", _as_tuple(self.rephrases, "rephrases"))
        object.__setattr__(self, "locality", _probes(self.locality, "locality"))
        object.__setattr__(self, "portability", _probes(self.portability, "portability"))
        for rephrase in self.rephrases:
            _check_text(rephrase, "a rephrase")
        for probe in self.portability:
            if probe.answer is None:
                raise BadEdit(
                    f"the portability probe {quoted(probe.prompt)} has no answer; say what must follow from the edit"
                )
        if self.subject is not None and self.subject not in self.prompt:
            raise BadEdit(
                f"the subject {quoted(self.subject)} does not occur in the prompt {quoted(self.prompt)}; "
                "spell it as the prompt does or leave it out"
            )

    def _check_goal(self) -> None:
        _check_text(self.rival, "the rival", optional=True)
        if self.rival is not None and self.goal is None:
            object.__setattr__(self, "goal", "contrast")
        if self.goal is not None and self.goal not in GOALS:
            known = ", ".join(GOALS)
            raise BadEdit(f"there is no goal {quoted(self.goal)}; an example's is one of {known}, an answer has none")
        if self.goal in PAIRED and self.rival is None:
            raise BadEdit(f"the goal '{self.goal}' needs a rival, the other way to go on; add it")
        if self.rival is not None and self.goal not in PAIRED:
            raise BadEdit(f"a rival goes with the goals {' and '.join(PAIRED)} alone; set one or leave the rival out")
        if self.rival is not None and self.rival.strip() == self.target.strip():
            raise BadEdit(f"target and rival are both {quoted(self.target)}; they must differ")

    @property
    def topic(self) -> tuple[str, ...]:
        """What makes a later edit take this one's place: an answer's prompt; of an example, all that it says."""
        return topic(self.prompt, self.target, self.goal, self.rival)

    def to_json(self) -> dict[str, Any]:
        """The edit as JSON values, without the fields that are None or empty; from_json reads it back."""
        values: dict[str, Any] = {
            "prompt": self.prompt,
            "target": self.target,
            "goal": self.goal,
            "rival": self.rival,
            "subject": self.subject,
            "ground_truth": self.ground_truth,
            "rephrases": list(self.rephrases),
            "locality": [probe.to_json() for probe in self.locality],
            "portability": [probe.to_json() for probe in self.portability],
            "id": self.id,
        }
        return {name: value for name, value in values.items() if value is not None and value != []}

    @classmethod
    def from_json(cls, value: Any) -> Edit:
        """An edit from its JSON form. Raises BadEdit for an unknown or missing field or a wrong type."""
        known = _known_fields(value, cls, "an edit")
        for name in ("locality", "portability"):
            probes = _as_tuple(known.get(name, ()), name)
            known[name] = tuple(Probe.from_json(probe) for probe in probes)
        return cls(**known)


def topic(prompt: str, target: str, goal: str | None, rival: str | None) -> tuple[str, ...]:
    """`Edit.topic` of an edit with these fields."""
    return (prompt,) if goal is None else (prompt, target, goal, rival or "")


def _known_fields(value: Any, model: type[Edit] | type[Probe], what: str) -> dict[str, Any]:
    """The fields of a JSON object that are set, once each is known and every required one is there."""
    if not isinstance(value, dict):
        raise BadEdit(f"{what} is a JSON object with a prompt, not {quoted(value)}; put it in braces")
    known = {field.name: field.default is MISSING for field in fields(model)}
    for name in value:
        if name not in known:
            raise BadEdit(
                f"{what} has no field {quoted(name)}.{did_you_mean(name, known)} Use only: {', '.join(known)}"
            )
    for name, required in known.items():
        if required and value.get(name) is None:
            raise BadEdit(f"{what} needs the field '{name}'; add it")
    return {name: field for name, field in value.items() if field is not None}


def _check_text(value: object, what: str, optional: bool = False) -> None:
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise BadEdit(f"{what} is {quoted(value)}; it must be text")
    if not value.strip():
        raise BadEdit(f"{what} is empty; fill it in{' or leave it out' if optional else ''}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadEdit(f"{what} {quoted(value)} holds half a surrogate pair; write the character itself") from None


def _as_tuple(value: object, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise BadEdit(f"{what} is {quoted(value)}; it must be a list")
    return tuple(value)


def _probes(value: object, what: str) -> tuple[Probe, ...]:
    probes = _as_tuple(value, what)
    for probe in probes:
        if not isinstance(probe, Probe):
            raise BadEdit(f"{what} holds {quoted(probe)}; each entry must be a Probe")
    return probes


def quoted(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."
