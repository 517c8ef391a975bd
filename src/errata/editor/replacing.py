"""From "these words are wrong" to a target: the model's own answer with the old span replaced by the new one.

Knows edits and a model that answers. It changes neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from errata.edits import Edit
from errata.errors import BadEdit
from errata.models import EditableModel
from errata.prompts import quote

LONGEST = 128  # tokens of an answer whose words are replaced


def resolve_replacements(model: EditableModel, edits: Sequence[Edit]) -> list[Edit]:
    """Give edits that name spans to replace their target: the model's answer now, with those spans replaced.

    What the answer said is their ground truth, unless they have one. Other edits stay as they are.

    Raises:
        BadEdit: the answer does not hold a span; the message shows the answer.
    """
    asked = [edit for edit in edits if _unresolved(edit)]
    if not asked:
        return list(edits)
    said = model.generate([edit.prompt for edit in asked], max_new_tokens=LONGEST)
    answers = iter(said)
    return [_resolved(edit, next(answers)) if _unresolved(edit) else edit for edit in edits]


def _unresolved(edit: Edit) -> bool:
    return isinstance(edit, Edit) and bool(edit.replace) and not edit.target  # what is no edit is refused later


def _resolved(edit: Edit, answer: str) -> Edit:
    target, last = answer, 0
    for old, new in edit.replace:
        found = list(re.finditer(_whole(old), target))
        if not found:
            raise BadEdit(
                f"the model's answer to {quote(edit.prompt)} does not hold {quote(old)}; it says: {answer!r}. "
                "Name words of that answer, or give the whole target"
            )
        target = re.sub(_whole(old), lambda _, new=new: new, target)
        last = max(last, target.rfind(new) + len(new))
    return replace(edit, target=_sentences(target, last), ground_truth=edit.ground_truth or answer)


def _whole(span: str) -> str:
    """Match a span that does not begin or end inside a word."""
    start, stop = (r"\b" if char.isalnum() else "" for char in (span[0], span[-1]))
    return start + re.escape(span) + stop


def _sentences(text: str, needed: int) -> str:
    """Cut what goes on after the sentence in which character `needed` stands, if the text breaks off in mid-sentence."""
    if text.rstrip()[-1:] in ".!?\"')”’。！？" or len(text.split()) < LONGEST // 3:
        return text
    ends = [match.end() for match in re.finditer(r"[.!?。！？](?=\s|$)", text) if match.end() >= needed]
    return text[: ends[0]] if ends else text
