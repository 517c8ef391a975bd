"""Which edits answer a prompt, told as JSON. Knows patches that can say so, attached to any model."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from errata.models import EditableModel
from errata.patches.base import in_force
from errata.patches.states import StatePatch

TOKENS = 24  # of an answer


def fired(model: EditableModel, prompt: str) -> list[dict[str, Any]]:
    """Every firing while the model reads `prompt` and answers it: edit, block, position, distance, radius."""
    with ExitStack() as recording:
        patches = [patch for patch in in_force(model) if isinstance(patch, StatePatch)]
        lists = [recording.enter_context(patch.record()) for patch in patches]
        model.generate([prompt], max_new_tokens=TOKENS)
    return [
        {"edit": f.edit, "layer": f.layer, "position": f.position, "distance": f.distance, "radius": f.radius}
        for found in lists
        for f in found
    ]
