"""Where methods sit: blocks as users name them, and those of users who leave it to the method.

Knows tasks, depths and what tracing finds. It knows no method.
"""

from __future__ import annotations

import logging
from typing import Literal

from errata.errors import BadConfig, BadEdit
from errata.locate.choose import auto_layers
from errata.models import EditableModel

log = logging.getLogger(__name__)

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


def parse_layers(model: EditableModel, text: float | str) -> tuple[int, ...]:
    """Blocks from 5, "5", "3-8", "3,5,7" or "0.25", a fraction of the depth, in the order data flows.

    Raises: BadConfig.
    """
    try:
        found: list[int | float] = []
        for part in str(text).replace(" ", "").split(","):
            first, dash, last = (part, "", "") if part.startswith("-") else part.partition("-")
            alone = float(first) if "." in first else int(first)
            found += range(int(first), int(last) + 1) if dash else [alone]
    except ValueError:
        raise BadConfig(f"layers {text!r} is not a number, a range such as 3-8 or a list such as 3,5") from None
    if not found:
        raise BadConfig(f"layers {text!r} names no block; write the lower number first")
    return tuple(sorted({model.layer_of(layer) for layer in found}))


def traced_layers(model: EditableModel, usual: str | None) -> tuple[int, ...]:
    """As many blocks as are usual, where causal tracing finds facts; the usual ones if the model knows none."""
    otherwise = parse_layers(model, usual or _depths(len(model.arch)))
    try:
        return tuple(auto_layers(model, n=len(otherwise)).layers)
    except BadEdit as problem:
        log.info("editing blocks %s, the usual depth: %s", otherwise, problem)
        return otherwise


def _depths(depth: int) -> str:
    """Early to middle blocks, where a subject's last token takes in what the model knows of it."""
    last = round(0.3 * (depth - 1))
    return f"{max(round(0.05 * (depth - 1)), last - 4)}-{last}"
