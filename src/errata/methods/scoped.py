"""Scoped answers: an edit answers its question, in whatever words it is asked, and no other.

Errata's own. Two things that GRACE (Hartvigsen et al., 2023) leaves to one key are told apart. Scope: in a conversation
the user's message decides, in running text the beginning of the sentence, by scorers that were learned from wordings of
other questions (`errata.scope`). Effect: values at the last block's output along the whole answer, in force as long as
the model writes that answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from errata.edits import Edit
from errata.errors import BadConfig
from errata.methods._asked import AskedConfig, AskedMethod, Found
from errata.methods._base import Fit, option, register_method
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.bound import digest_of
from errata.patches.scoped import Answered, ScopedPatch
from errata.prompts import Conversation
from errata.scope import Form, Scorer
from errata.scope.vocabulary import Vocabulary
from errata.solve.answers import Solved, solve_answers
from errata.statistics.scoping import FORMS, scope_for
from errata.words import SHORTEST, current_sentence, words


@register_method("scoped", paper="Errata", patch="scoped", tasks=("causal",))
class Scoped(AskedMethod):
    """Answers bound to questions: wordings of the question are answered, in conversations and in running text."""

    @dataclass(frozen=True)
    class Config(AskedConfig):
        steps: int = option(30, "most Newton steps for a value")
        batch_size: int = option(32, "edits whose values are found in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        if not self._last(model) and not all(isinstance(edit.prompt, Conversation) for edit in edits):
            raise BadConfig(
                f"layer is {self.config.layer}: text that is to be continued is answered at the last block alone; "
                "leave layer out"
            )
        return super().fit(model, edits, previous)

    def _solve(self, model: EditableModel, layer: int, edits: Sequence[Edit]) -> list[Found]:
        batch = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
        found = solve_answers(model, batch, layer, confidence=self.config.confidence, steps=self.config.steps)
        return [
            (edit, one.figures, [] if "problem" in one.figures else self._entries(model, edit, tuple(ids), one))
            for edit, ids, one in zip(edits, batch.target_ids, found, strict=True)
        ]

    def _entries(self, model: EditableModel, edit: Edit, label: tuple[int, ...], solved: Solved) -> list[Answered]:
        id, values = str(edit.id), solved.values
        entries = []
        for prompt in self._prompts(edit):
            if isinstance(prompt, Conversation):
                entries.append(Answered(id, str(prompt), prompt.earlier, label, values))
            elif sentence := _sentence(prompt):
                entries.append(Answered(id, sentence, None, label, values, "text", solved.said[0]))
        if isinstance(edit.prompt, Conversation) and self._last(model):
            entries += _written(model, id, label, solved)
        return entries

    def _last(self, model: EditableModel) -> bool:
        """Whether values stand at the last block, from which it can be told what the model is about to say."""
        return self._layer(model) == len(model.arch) - 1

    def _patch(self, model: EditableModel, entries: Sequence[Answered], edits: Sequence[str]) -> ScopedPatch:
        used = self.settled(model)
        forms: tuple[Form, ...] = FORMS if model.chat is not None else ("text",)
        scorers: dict[Form, Scorer] = {
            form: scope_for(model, used.encoder, form, seed=used.seed).scorer for form in forms
        }
        return ScopedPatch(
            self._layer(model), entries, scorers=scorers, digest=digest_of(scorers), encoder=used.encoder,
            method=self.name, config=self.config.to_json(), edits=edits,
        )  # fmt: skip


def _sentence(prompt: str) -> str:
    """The sentence that a text ends in, or the whole text where it ends with a sentence."""
    return current_sentence(prompt) or prompt


def _written(model: EditableModel, edit: str, label: tuple[int, ...], solved: Solved) -> list[Answered]:
    """The corrected words of an answer, bound to the beginning of its sentence: where the model itself comes to write
    that sentence, in another answer, it writes it as corrected."""
    changed = [place for place, (one, other) in enumerate(zip(label, solved.said, strict=True)) if one != other]
    if not changed or not 0 < changed[0] < len(label) - 1:
        return []
    first, last = changed[0], min(changed[-1] + 1, len(label) - 1)  # the end of the answer is no part of it
    sentence = current_sentence(str(model.tokenizer.decode(list(label[:first]), skip_special_tokens=True)))
    if len(words(sentence)) < SHORTEST or not Vocabulary.of(model).bag(sentence).names:
        return []
    values = solved.values[first:last]
    return [Answered(edit, sentence, None, label[first:last], values, "text", solved.said[first])]
