"""Which edits answer a prompt, told as JSON. Knows patches that can say so, attached to any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.base import in_force
from errata.patches.records import RecordedPatch
from errata.patches.states import Firing
from errata.serve.engine.request import Fired

TOKENS = 24  # of an answer
IN_ANSWER = "(in the answer)"


def fired(model: EditableModel, prompt: str, edits: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Every firing while the model reads `prompt` and answers it: edit, block, position, token, distance, radius.

    `edits` has the prompt and target of each edit that may fire, by its id.
    """
    with ExitStack() as recording:
        patches = [patch for patch in in_force(model) if isinstance(patch, RecordedPatch)]
        lists = [recording.enter_context(patch.record()) for patch in patches]
        model.generate([prompt], max_new_tokens=TOKENS)
    found = [firing for firings in lists for firing in firings]
    tokens = [str(model.tokenizer.decode([id])) for id in prompt_ids(model, [prompt])[0]]
    return [told(firing, edits, tokens) for firing in found]


def told(firing: Firing | Fired, edits: Mapping[str, tuple[str, str]], tokens: Sequence[str]) -> dict[str, Any]:
    """One firing. `tokens` are those of the prompt."""
    prompt, target = edits.get(firing.edit, ("", ""))
    inside = firing.position < len(tokens)
    return {
        "edit": firing.edit, "edit_prompt": str(prompt), "target": target, "layer": firing.layer,
        "position": firing.position, "token": tokens[firing.position] if inside else IN_ANSWER,
        "distance": firing.distance, "radius": firing.radius,
    }  # fmt: skip
