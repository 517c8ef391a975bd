"""An edit as plain data: what is asked, what the answer must become, and how to tell whether it did.

Knows what makes an edit valid and how edits are written to and read from files. It knows no model, no method
and no tensor.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from errata.errors import BadEdit, did_you_mean
from errata.formats import NATIVE, Record, located, read_records, resolve_format, translate

log = logging.getLogger(__name__)

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
                    f"the portability probe {_quote(probe.prompt)} has no answer; say what must follow from the edit"
                )
        if self.subject is not None and self.subject not in self.prompt:
            raise BadEdit(
                f"the subject {_quote(self.subject)} does not occur in the prompt {_quote(self.prompt)}; "
                "spell it as the prompt does or leave it out"
            )

    def _check_goal(self) -> None:
        _check_text(self.rival, "the rival", optional=True)
        if self.rival is not None and self.goal is None:
            object.__setattr__(self, "goal", "contrast")
        if self.goal is not None and self.goal not in GOALS:
            known = ", ".join(GOALS)
            raise BadEdit(f"there is no goal {_quote(self.goal)}; an example's is one of {known}, an answer has none")
        if self.goal in PAIRED and self.rival is None:
            raise BadEdit(f"the goal '{self.goal}' needs a rival, the other way to go on; add it")
        if self.rival is not None and self.goal not in PAIRED:
            raise BadEdit(f"a rival goes with the goals {' and '.join(PAIRED)} alone; set one or leave the rival out")
        if self.rival is not None and self.rival.strip() == self.target.strip():
            raise BadEdit(f"target and rival are both {_quote(self.target)}; they must differ")

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


def read_edits(path: str | os.PathLike[str], format: str = "auto") -> list[Edit]:
    """The edits of a file: JSON Lines or a JSON array, gzipped or not, one prompt never twice.

    Args:
        path: the file.
        format: "errata" (the form of `Edit.to_json`), "counterfact" (ROME's full schema), "easyedit"
            (EasyEdit's flat CounterFact, KnowEdit), "zsre" (MEND's flat form), "wikibio" (KnowEdit), "canonical"
            (canonical examples: prefix and suffix), or "auto": by the fields of the first record.

    In Errata's own form a repeated prompt or id is an error. Published benchmarks are lists of independent
    cases, and some repeat a prompt with another target or have an empty one: there the first case of a prompt
    counts, and what was left out is logged as a warning.

    Raises:
        BadEdit: the file or a record is malformed; the message starts with "FILE:LINE:", or with
            "FILE: record N:" in a JSON array.
        UnknownName: no such format.
    """
    return edits_of(read_records(path), format, source=os.fspath(path))


def edits_of(records: Sequence[Record], format: str = "auto", *, source: str) -> list[Edit]:
    """The edits of records that are read already, under the rules of `read_edits`.

    Args:
        records: at least one.
        format: as in `read_edits`.
        source: where they come from, for messages.

    Raises:
        BadEdit: a record is malformed; the message starts with its place.
        UnknownName: no such format.
    """
    layout = resolve_format(format, records)
    return _native(records) if layout == NATIVE else _published(source, records, layout)


def write_edits(path: str | os.PathLike[str], edits: Iterable[Edit]) -> None:
    """Write edits as JSON Lines, gzipped where the name ends in .gz: the whole file or, on failure, nothing.

    Raises:
        BadEdit: there are no edits, two share a prompt or an id, or the file cannot be written.
    """
    path, seen = Path(path), {}
    lines = []
    for number, edit in enumerate(edits, start=1):
        place = f"edit {number}"
        with located(f"{path}: {place}"):
            _refuse_repeats(edit, place, seen)
        lines.append(json.dumps(edit.to_json(), ensure_ascii=False) + "\n")
    if not lines:
        raise BadEdit(f"{path}: there are no edits to write; pass at least one")
    content = "".join(lines).encode()
    _replace(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _native(records: Sequence[Record]) -> list[Edit]:
    edits, seen = [], {}
    for place, value in records:
        with located(place):
            edit = Edit.from_json(value)
            _refuse_repeats(edit, place, seen)
        edits.append(edit)
    return edits


def _published(source: str, records: Sequence[Record], layout: str) -> list[Edit]:
    edits: dict[tuple[str, ...], Edit] = {}
    left_out = []
    for place, value in records:
        with located(place):
            plain = translate(layout, value)
            edit = None if plain is None else Edit.from_json(plain)
            if edit is None or edit.topic in edits:
                left_out.append(place)
            else:
                edits[edit.topic] = edit
    if not edits:
        raise BadEdit(f"{source}: no record has both a prompt and a target; check the file and the format")
    if left_out:
        log.warning(
            "%s: left out %d of %d records that repeat a prompt or have no target; the first is %s",
            *(source, len(left_out), len(records), left_out[0]),
        )
    return list(edits.values())


def _refuse_repeats(edit: Edit, place: str, seen: dict[tuple[str, ...], str]) -> None:
    asked = tuple(part.strip() for part in edit.topic)
    for field, value, key in (("prompt", edit.prompt.strip(), asked), ("id", edit.id, (str(edit.id),))):
        if value is None:
            continue
        first = seen.setdefault((field, *key), place)
        if first != place:
            raise BadEdit(f"the {field} {_quote(value)} is already that of {first}; keep one of the two")


def _known_fields(value: Any, model: type[Edit] | type[Probe], what: str) -> dict[str, Any]:
    """The fields of a JSON object that are set, once each is known and every required one is there."""
    if not isinstance(value, dict):
        raise BadEdit(f"{what} is a JSON object with a prompt, not {_quote(value)}; put it in braces")
    known = {field.name: field.default is MISSING for field in fields(model)}
    for name in value:
        if name not in known:
            raise BadEdit(
                f"{what} has no field {_quote(name)}.{did_you_mean(name, known)} Use only: {', '.join(known)}"
            )
    for name, required in known.items():
        if required and value.get(name) is None:
            raise BadEdit(f"{what} needs the field '{name}'; add it")
    return {name: field for name, field in value.items() if field is not None}


def _check_text(value: object, what: str, optional: bool = False) -> None:
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise BadEdit(f"{what} is {_quote(value)}; it must be text")
    if not value.strip():
        raise BadEdit(f"{what} is empty; fill it in{' or leave it out' if optional else ''}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadEdit(f"{what} {_quote(value)} holds half a surrogate pair; write the character itself") from None


def _as_tuple(value: object, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise BadEdit(f"{what} is {_quote(value)}; it must be a list")
    return tuple(value)


def _probes(value: object, what: str) -> tuple[Probe, ...]:
    probes = _as_tuple(value, what)
    for probe in probes:
        if not isinstance(probe, Probe):
            raise BadEdit(f"{what} holds {_quote(probe)}; each entry must be a Probe")
    return probes


def _quote(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise BadEdit(f"{path}: cannot be written ({error.strerror}); check the folder and its rights") from None
    finally:
        with suppress(OSError):
            partial.unlink()
