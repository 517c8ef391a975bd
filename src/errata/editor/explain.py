"""Why a model answers as it does: which edits fired while it read the prompt and wrote the answer.

Knows codebooks and routers, which can name what fired, and other patches, which act on every answer alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack

from errata.editor.answers import Explanation, Firing
from errata.editor.stack import Stack
from errata.journal.history import State
from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.base import Patch
from errata.patches.bound import BoundPatch
from errata.patches.codebook import CodebookPatch
from errata.patches.codebook import Firing as RawFiring
from errata.patches.router import RouterPatch
from errata.prompts import Conversation

_NAMING = (CodebookPatch, RouterPatch, BoundPatch)  # an adaptor's gate is shared by the edits of a call


def explain(
    model: EditableModel, stack: Stack, state: State, prompt: str, max_new_tokens: int
) -> Explanation:
    """Answer `prompt` with every firing recorded, and once more without any patch."""
    patches = list(stack.patches.values())
    with ExitStack() as recording:
        lists = [recording.enter_context(p.record()) for p in patches if isinstance(p, _NAMING)]
        answer = model.generate([prompt], max_new_tokens=max_new_tokens)[0]
    raw = [fired for firings in lists for fired in firings]
    with stack.lowered():
        before = model.generate([prompt], max_new_tokens=max_new_tokens)[0]
    ids = prompt_ids(model, [prompt])[0]
    firings = tuple(_told(model, state, ids, fired) for fired in raw)
    weights = tuple(id for patch in patches if not isinstance(patch, _NAMING) for id in patch.edits)
    near = _near(model, patches, prompt, {fired.edit for fired in raw})
    return Explanation(prompt, answer, before, firings, weights, near)


def _near(
    model: EditableModel, patches: Sequence[Patch], prompt: str, fired: Collection[str]
) -> tuple[tuple[str, float], ...]:
    """Edits that the question was compared with and that did not answer it."""
    if not isinstance(prompt, Conversation):
        return ()
    found = [patch.decide(model, str(prompt), prompt.earlier) for patch in patches if isinstance(patch, BoundPatch)]
    return tuple(one for decision in found for one in decision.scores if one[0] not in fired)


def _told(model: EditableModel, state: State, ids: list[int], fired: RawFiring) -> Firing:
    edit = state.edits[fired.edit]
    inside = fired.position < len(ids)
    token = model.tokenizer.decode([ids[fired.position]]) if inside else "(in the answer)"
    return Firing(
        fired.edit,
        edit.prompt,
        edit.target,
        fired.layer,
        fired.position,
        str(token),
        fired.distance,
        fired.radius,
        fired.score,
    )
