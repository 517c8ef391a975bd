"""Where a subject sits among a prompt's tokens, in the very tokenisation the model reads.

Knows prompts, character offsets and tokenizers. It does not know padding: add `Batch.pads` to its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from errata.errors import BadEdit, BadModel
from errata.models.chat import render
from errata.models.notes import annotate_prompts

if TYPE_CHECKING:
    from errata.models.editable import EditableModel


def subject_last_token(model: EditableModel, prompt: str, subject: str) -> int:
    """Column, in the unpadded ids of `prompt`, of the last token of `subject`; a BOS token counts.

    Raises: as `subject_span`, which says how the subject is found.
    """
    return subject_span(model, prompt, subject).stop - 1


def subject_span(model: EditableModel, prompt: str, subject: str) -> range:
    """Columns, in the unpadded ids of `prompt`, of the tokens that hold `subject`; a BOS token counts.

    The prompt is tokenised once, as a whole, and read back through character offsets: pieces tokenised by
    themselves have other boundaries. Braces are plain text. If the subject occurs more than once the first
    occurrence counts, as in ROME (arXiv:2202.05262), whose templates have one place for it.

    Raises:
        BadEdit: the prompt does not contain the subject, or no token ends it.
        BadModel: the tokenizer reports no offsets.
    """
    start = prompt.find(subject) if subject else -1
    if start < 0:
        raise BadEdit(f"the subject '{subject}' is not in the prompt '{prompt}'; write it as the prompt does")
    spans = offsets(model, prompt)
    last = start + len(subject) - 1
    ending = [column for column, (begin, stop) in enumerate(spans) if begin <= last < stop]
    if not ending:
        raise BadEdit(f"no token of the prompt '{prompt}' ends the subject '{subject}'; trim its spaces")
    holding = [column for column, (begin, stop) in enumerate(spans) if begin <= last and start < stop]
    return range(holding[0], ending[-1] + 1)


def offsets(model: EditableModel, prompt: str) -> list[tuple[int, int]]:
    """Return the characters of `prompt` that each token of its unpadded ids holds, as (begin, stop).

    Of a conversation the characters are counted in its last message; the template's own tokens hold none of them.

    Raises:
        BadModel: the tokenizer reports no offsets.
        BadEdit: the model's template does not take the conversation.
    """
    if not model.tokenizer.is_fast:
        raise BadModel(
            f"{type(model.tokenizer).__name__} reports no character offsets, which finding a subject needs; "
            "load the model with a fast tokenizer"
        )
    text, special = render(model.chat, annotate_prompts(model, [prompt])[0])
    read = model.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    spans = cast(list[tuple[int, int]], read["offset_mapping"])
    words = prompt.strip()
    shift = text.rfind(words) - prompt.find(words) if text != prompt else 0
    size = len(prompt)
    return [(begin - shift, stop - shift) if begin - shift < size and stop > shift else (0, 0) for begin, stop in spans]
