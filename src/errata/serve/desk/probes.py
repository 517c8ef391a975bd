"""A sheet's own questions, `probes.jsonl`: what its edits must not move, asked by gates, trials and evaluations.

The file is what `errata eval FILE` reads. Knows that file; asks nothing.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from errata.durable import write_atomic
from errata.errors import BadEdit, UnknownName
from errata.evaluate.questions import Question
from errata.formats import read_records
from errata.journal.store import explained
from errata.prompts import Conversation, RawText, check_text, prompt_fields, prompt_of
from errata.serve.desk.wording import describe_prompt

FILE = "probes.jsonl"
KINDS = ("upstream", "locality")


class Probes:
    """The questions in one sheet's file, in order."""

    def __init__(self, sheet: Path) -> None:
        self.path = sheet / FILE
        self._lock = threading.Lock()

    def questions(self) -> list[Question]:
        """Raises BadEdit when the file is damaged."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return []
        return [_question(record.value, record.place) for record in read_records(self.path)]

    def add(self, values: Sequence[dict[str, Any]]) -> list[Question]:
        """Add questions, each once; those that are there already stay as they are. Raises BadEdit."""
        new = [_question(value, f"probe {number}") for number, value in enumerate(values, 1)]
        with self._lock:
            kept = {identity(question): question for question in self.questions()}
            kept |= {identity(question): question for question in new}
            self._write(kept.values())
        return new

    def remove(self, id: str) -> Question:
        """Raises UnknownName."""
        with self._lock:
            kept = {identity(question): question for question in self.questions()}
            if id not in kept:
                raise UnknownName(f"no probe '{id}' in this sheet; list the probes to see their ids")
            gone = kept.pop(id)
            self._write(kept.values())
        return gone

    def _write(self, questions: Iterable[Question]) -> None:
        lines = [json.dumps(_values(question), ensure_ascii=False) + "\n" for question in questions]
        with explained(self.path):
            write_atomic(self.path, "".join(lines).encode())


def identity(question: Question) -> str:
    """A name for a question, made of what it asks and why."""
    asked = str(question.prompt)
    if isinstance(question.prompt, Conversation | RawText):
        asked = json.dumps(prompt_fields(question.prompt), ensure_ascii=False)
    return hashlib.sha256(f"{question.kind}\n{asked}".encode()).hexdigest()[:12]


def _values(question: Question) -> dict[str, Any]:
    values = {"answer": question.expected, "kind": question.kind, "about": question.about}
    return {**prompt_fields(question.prompt), **{name: value for name, value in values.items() if value}}


def to_json(question: Question) -> dict[str, Any]:
    """A question as the API tells it."""
    asked = {**describe_prompt(question.prompt), "raw": isinstance(question.prompt, RawText)}
    return {"id": identity(question), "answer": None, "about": "", **_values(question), **asked}


def _question(value: Any, place: str) -> Question:
    if not isinstance(value, dict):
        raise BadEdit(f"{place}: a probe is a JSON object with a prompt")
    kind = value.get("kind") or KINDS[0]
    if kind not in KINDS:
        raise BadEdit(f"{place}: a probe of a sheet is one of: {', '.join(KINDS)}; not '{kind}'")
    given = {name: field for name, field in value.items() if field is not None}
    try:
        prompt = prompt_of(given)
        check_text(prompt, "a probe's prompt")
        return Question(kind, prompt, value.get("answer"), about=value.get("about") or "")
    except (KeyError, TypeError):
        raise BadEdit(f"{place}: a probe needs a prompt that is text, or messages") from None
    except BadEdit as error:
        raise BadEdit(f"{place}: {error}") from None
