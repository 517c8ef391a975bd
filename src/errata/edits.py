"""An edit as plain data: what is asked, what the answer must become, and how to tell whether it did.

Knows what makes an edit valid, and its JSON form. What a prompt is stands in `prompts`. It knows no file, no model, no
method and no tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from errata.errors import BadEdit, did_you_mean
from errata.prompts import (
    Conversation,
    Message,
    RawText,
    check_text,
    identity,
    like,
    prompt_fields,
    prompt_json,
    quote,
    user_message,
)

Goal = Literal["raise", "lower", "balance", "contrast"]
GOALS: tuple[Goal, ...] = get_args(Goal)
PAIRED = ("balance", "contrast")  # goals of a target and a rival


@dataclass(frozen=True, slots=True)
class Probe:
    """A question, and the answer it is expected to have; None where whatever the model said before is right.

    Attributes:
        prompt: what the model reads; a user message for a chat model.
        answer: what it must say.
        kind: what the question looks at, by which scores are told apart. Of locality: "neighbour" (same
            relation and answer, another subject), "same_subject" (another relation), "distractor" (a
            neighbour after the edited fact), "forgetfulness" (another answer of a one-to-many relation),
            "unrelated". Of portability: "one_hop" (a fact about the new answer), "alias" (another name of the
            subject), "logical" (what the relation entails, such as its inverse), "inverse". Or any word of
            your own.
        messages: a conversation instead of a prompt, which then is its last message.

    Raises:
        BadEdit: a text is empty or no valid Unicode, or the messages are not valid.
    """

    prompt: str = ""
    answer: str | None = None
    kind: str | None = None
    messages: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        _settle_prompt(self, "a probe")
        check_text(self.prompt, "a probe's prompt")
        check_text(self.answer, "a probe's answer", optional=True)
        check_text(self.kind, "a probe's kind", optional=True)

    def as_chat(self) -> Probe:
        """Return the probe with its plain text as the user's message."""
        return replace(self, prompt=user_message(self.prompt))

    def to_json(self) -> dict[str, Any]:
        """The probe as JSON values, without the fields that are None; from_json reads it back."""
        values = {**prompt_fields(self.prompt), "answer": self.answer, "kind": self.kind}
        return {name: value for name, value in values.items() if value is not None and name != "raw"}

    @classmethod
    def from_json(cls, value: Any) -> Probe:
        """A probe from its JSON form. Raises BadEdit for anything that is not exactly that."""
        return cls(**_known_fields(value, cls, "a probe"))


@dataclass(frozen=True, slots=True)
class Edit:
    """A request: when asked `prompt`, answer `target`. Or, with a goal, a canonical example (arXiv:2402.06155).

    Attributes:
        prompt: what the model reads; plain text, braces included. A chat model reads it as the user's message.
        target: what it must say, for a classifier the name of a label. Of an example: how the text may go on.
        subject: whom the edit is about, as written in the prompt; some methods need it.
        ground_truth: what the target replaces.
        rephrases: other ways to ask, which must follow the edit; texts or lists of messages.
        locality: questions that must not.
        id: a name to undo the edit by.
        portability: questions with the answers that must follow from the edit.
        goal: None for an answer; for an example what is to become of the target's probability after the prompt:
            "raise" it, "lower" it, "balance" it with the rival's, or "contrast": lift it above the rival's.
        rival: the other way to go on, of "balance" and "contrast"; with a rival and no goal it is "contrast".
        messages: a conversation (roles system, user, assistant) instead of a prompt, which then is its last message.
        replace: old spans with new ones, instead of a target: it becomes the model's own answer with them replaced.
        raw: continue the prompt as it stands, without the model's chat template.

    Raises:
        BadEdit: a text is empty or no valid Unicode, the subject does not occur in the prompt, a portability probe
            has no answer, goal and rival do not go together, or the messages are not valid.
    """

    prompt: str = ""
    target: str = ""
    subject: str | None = None
    ground_truth: str | None = None
    rephrases: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    id: str | None = None
    portability: tuple[Probe, ...] = ()
    goal: Goal | None = None
    rival: str | None = None
    messages: tuple[Message, ...] = ()
    replace: tuple[tuple[str, str], ...] = ()
    raw: bool = False

    def __post_init__(self) -> None:
        _settle_prompt(self, "an edit")
        check_text(self.prompt, "the prompt")
        self._settle_replace()
        if not self.replace or self.target:
            check_text(self.target, "the target")
        check_text(self.subject, "the subject", optional=True)
        check_text(self.ground_truth, "the ground truth", optional=True)
        check_text(self.id, "the id", optional=True)
        self._check_goal()
        object.__setattr__(self, "rephrases", like(self.prompt, _as_tuple(self.rephrases, "rephrases")))
        object.__setattr__(self, "locality", self._probes(self.locality, "locality"))
        object.__setattr__(self, "portability", self._probes(self.portability, "portability"))
        for rephrase in self.rephrases:
            check_text(rephrase, "a rephrase")
        for probe in self.portability:
            if probe.answer is None:
                raise BadEdit(
                    f"the portability probe {quote(probe.prompt)} has no answer; say what must follow from the edit"
                )
        if self.subject is not None and self.subject not in self.prompt:
            raise BadEdit(
                f"the subject {quote(self.subject)} does not occur in the prompt {quote(self.prompt)}; "
                "spell it as the prompt does or leave it out"
            )

    def _settle_replace(self) -> None:
        pairs = self.replace.items() if isinstance(self.replace, Mapping) else _as_tuple(self.replace, "replace")
        pairs = tuple(tuple(pair) for pair in pairs)
        for pair in pairs:
            if len(pair) != 2:
                raise BadEdit(f"replace holds {quote(pair)}; write {{'old words': 'new words'}}")
            check_text(pair[0], "the old span of replace")
            check_text(pair[1], "the new span of replace")
            if pair[0] == pair[1]:
                raise BadEdit(f"replace changes {quote(pair[0])} into itself; write {{'old words': 'new words'}}")
        if pairs and self.goal is not None:
            raise BadEdit("replace goes with an answer; leave out the goal or the replace")
        object.__setattr__(self, "replace", pairs)

    def _probes(self, value: object, what: str) -> tuple[Probe, ...]:
        """The probes of the edit, raw where it is itself."""
        probes = _probes(value, what)
        if not self.raw:
            return probes
        return tuple(probe if probe.messages else replace(probe, prompt=RawText(probe.prompt)) for probe in probes)

    def _check_goal(self) -> None:
        check_text(self.rival, "the rival", optional=True)
        if self.rival is not None and self.goal is None:
            object.__setattr__(self, "goal", "contrast")
        if self.goal is not None and self.goal not in GOALS:
            known = ", ".join(GOALS)
            raise BadEdit(f"there is no goal {quote(self.goal)}; an example's is one of {known}, an answer has none")
        if self.goal in PAIRED and self.rival is None:
            raise BadEdit(f"the goal '{self.goal}' needs a rival, the other way to go on; add it")
        if self.rival is not None and self.goal not in PAIRED:
            raise BadEdit(f"a rival goes with the goals {' and '.join(PAIRED)} alone; set one or leave the rival out")
        if self.rival is not None and self.rival.strip() == self.target.strip():
            raise BadEdit(f"target and rival are both {quote(self.target)}; they must differ")

    @property
    def topic(self) -> tuple[str, ...]:
        """What makes a later edit take this one's place: an answer's prompt; of an example, all that it says."""
        return topic(self.prompt, self.target, self.goal, self.rival)

    def as_chat(self) -> Edit:
        """Return the edit with its plain texts as user messages; a raw edit as it is."""
        if self.raw:
            return self
        return replace(
            self, prompt=user_message(self.prompt), rephrases=tuple(map(user_message, self.rephrases)),
            locality=tuple(probe.as_chat() for probe in self.locality),
            portability=tuple(probe.as_chat() for probe in self.portability),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The edit as JSON values, without the fields that are None or empty; from_json reads it back."""
        values: dict[str, Any] = {
            **prompt_fields(self.prompt),
            "target": self.target or None,
            "replace": dict(self.replace) or None,
            "goal": self.goal,
            "rival": self.rival,
            "subject": self.subject,
            "ground_truth": self.ground_truth,
            "rephrases": [prompt_json(rephrase) for rephrase in self.rephrases],
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
    asked = identity(prompt)
    return (asked,) if goal is None else (asked, target, goal, rival or "")


def _settle_prompt(owner: Edit | Probe, what: str) -> None:
    """Make one prompt of the fields that say it. Raises BadEdit where two of them do, or none."""
    prompt, messages, raw = owner.prompt, owner.messages, getattr(owner, "raw", False)
    if messages and not isinstance(messages, str):
        read = Conversation(messages)
        if prompt and prompt != read:
            raise BadEdit(f"{what} has a prompt and messages; give one of them")
        prompt = read
    elif messages:
        raise BadEdit(f"messages is {quote(messages)}; it must be a list of {{'role', 'content'}}")
    if not isinstance(raw, bool):
        raise BadEdit(f"raw is {quote(raw)}; it must be true or false")
    if raw and isinstance(prompt, Conversation):
        raise BadEdit("messages cannot be raw: they need the chat template; give a prompt, or leave out raw")
    if raw and isinstance(prompt, str):
        prompt = RawText(prompt)
    object.__setattr__(owner, "prompt", prompt)
    object.__setattr__(owner, "messages", prompt.messages if isinstance(prompt, Conversation) else ())
    if isinstance(owner, Edit):
        object.__setattr__(owner, "raw", isinstance(prompt, RawText))


def _known_fields(value: Any, model: type[Edit] | type[Probe], what: str) -> dict[str, Any]:
    """The fields of a JSON object that are set, once each is known and every required one is there."""
    if not isinstance(value, dict):
        raise BadEdit(f"{what} is a JSON object with a prompt, not {quote(value)}; put it in braces")
    known = [field.name for field in fields(model)]
    for name in value:
        if name not in known:
            raise BadEdit(
                f"{what} has no field {quote(name)}.{did_you_mean(name, known)} Use only: {', '.join(known)}"
            )
    required = {"prompt": ("prompt", "messages")} | ({"target": ("target", "replace")} if model is Edit else {})
    for name, either in required.items():
        if all(value.get(one) is None for one in either):
            raise BadEdit(f"{what} needs the field '{name}' (or '{either[1]}'); add it")
    return {name: field for name, field in value.items() if field is not None}


def _as_tuple(value: object, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise BadEdit(f"{what} is {quote(value)}; it must be a list")
    return tuple(value)


def _probes(value: object, what: str) -> tuple[Probe, ...]:
    probes = _as_tuple(value, what)
    for probe in probes:
        if not isinstance(probe, Probe):
            raise BadEdit(f"{what} holds {quote(probe)}; each entry must be a Probe")
    return probes
