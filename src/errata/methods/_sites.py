"""Where methods that act on states sit when the user leaves it to them. Knows tasks and depths alone."""

from __future__ import annotations

from typing import Literal

from errata.models import EditableModel

DEPTH = {
    "causal": 0.25,
    "seq2seq": 0.8,
    "classification": 0.8,
}  # where "auto" edits; early blocks steer what follows


def site(model: EditableModel, layer: Literal["auto"] | int | float) -> int:
    """Index of the block at `layer`: a number, a fraction of the depth, or "auto" (in the encoder, if there is one)."""
    if layer != "auto":
        return model.layer_of(layer)
    return round(DEPTH[model.task] * ((model.arch.encoder_depth or len(model.arch)) - 1))
