"""IKE: corrections given in the context (Zheng et al., 2023, arXiv:2305.12740), in the form with retrieval alone.

The corrections whose question the user asks are written into the conversation before the model reads it, and it answers
from them in its own words. The paper also shows demonstrations of how to use a correction; here there are none.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from errata.edits import Edit
from errata.errors import BadConfig, BadEdit
from errata.methods._base import Fit, Method, MethodConfig, option, register_method
from errata.models import EditableModel
from errata.models.chat import ChatFormat
from errata.patches.base import Patch
from errata.patches.bound import digest_of
from errata.patches.noted import Noted, NotePatch
from errata.prompts import Conversation, Message, quote
from errata.scope import Form, Scorer
from errata.scope.encoders import installed_encoder
from errata.scope.index import TOLD
from errata.statistics.scoping import scope_for
from errata.words import words

READ = 64  # tokens of an answer in which the corrected words have to stand
_FIELDS = re.compile(r"\{(question|answer)\}")


@register_method("ike", paper="arXiv:2305.12740", patch="note", tasks=("causal",), chat=True)
class Ike(Method):
    """Corrections written into the context: the model reads those whose question is asked, before it answers."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        place: Literal["user", "system", "turn"] = option(
            "user", "where corrections stand: before the question, in the system message, or as an earlier turn"
        )
        notes: int = option(TOLD, f"corrections given at most, from 1 to {TOLD}; the best comes last")
        template: str = option(
            "Note: the answer to \"{question}\" is: {answer}", "a correction as text; with place=turn it is not used"
        )
        check: Literal["words", "target"] = option(
            "words",
            "when an edit holds: words: the answer says the target, or the new words of a replacement, anywhere in "
            "its first 64 tokens; target: it is the target, word for word",
        )
        encoder: str = option(
            "auto",
            "what compares questions: words (the model's embeddings), minilm or a directory; auto: the best there",
        )

        def __post_init__(self) -> None:
            if not 1 <= self.notes <= TOLD:
                raise BadConfig(f"notes must be from 1 to {TOLD}, got {self.notes}")
            if "{answer}" not in self.template:
                raise BadConfig(f"template {quote(self.template)} does not say the answer; put {{answer}} into it")

    def check(self, edits: Sequence[Edit]) -> None:
        super().check(edits)
        for edit in edits:
            if not isinstance(edit.prompt, Conversation):
                raise BadEdit(
                    f"'{self.name}' writes into conversations, and {quote(edit.prompt)} is to be continued as plain "
                    "text; use a model with a chat template, without --raw, or another method such as grace"
                )

    def settled(self, model: EditableModel) -> Config:
        encoder = installed_encoder() if self.config.encoder == "auto" else self.config.encoder
        return dataclasses.replace(self.config, encoder=encoder)

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        self._check_place(model.chat)
        entries = [self._entry(edit) for edit in edits]
        new = self._patch(model, entries, [entry.edit for entry in entries])
        return Fit(NotePatch.extended(previous, new))

    def verify(self, model: EditableModel, edits: Sequence[Edit]) -> list[bool]:
        if self.config.check == "target":
            return super().verify(model, edits)
        said = model.generate([edit.prompt for edit in edits], max_new_tokens=READ)
        spans = [[new for _, new in edit.replace] or [edit.target] for edit in edits]
        return [all(_says(text, span) for span in wanted) for text, wanted in zip(said, spans, strict=True)]

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        return previous.slot == self._patch(model, (), ()).slot

    def _check_place(self, chat: ChatFormat | None) -> None:
        if self.config.place != "system" or chat is None:
            return
        try:
            chat.text([Message("system", "note"), Message("user", "question")])
        except BadEdit as error:
            raise BadConfig(f"place=system does not suit this model: {error}; use place=user or place=turn") from error

    def _entry(self, edit: Edit) -> Noted:
        question, answer = str(edit.prompt).strip(), edit.target.strip()
        told = {"question": question, "answer": answer}
        note = _FIELDS.sub(lambda found: told[found[1]], self.config.template)
        earlier = edit.prompt.earlier if isinstance(edit.prompt, Conversation) else None
        return Noted(str(edit.id), str(edit.prompt), earlier, note, answer)

    def _patch(self, model: EditableModel, entries: Sequence[Noted], edits: Sequence[str]) -> NotePatch:
        used = self.settled(model)
        scorers: dict[Form, Scorer] = {"chat": scope_for(model, used.encoder, seed=used.seed).scorer}
        return NotePatch(
            entries, place=used.place, most=used.notes, scorers=scorers, digest=digest_of(scorers),
            encoder=used.encoder, method=self.name, config=self.config.to_json(), edits=edits,
        )  # fmt: skip


def _says(answer: str, span: str) -> bool:
    """Whether the words of `span` stand in an answer one after another, whatever their case."""
    read, wanted = words(answer), words(span)
    if not wanted:
        return span.strip() in answer
    return any(read[at : at + len(wanted)] == wanted for at in range(len(read) - len(wanted) + 1))
