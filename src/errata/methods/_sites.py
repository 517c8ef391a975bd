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


MLP_ROLES = {"up": "mlp_up", "gate": "mlp_gate", "down": "mlp_down"}


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


def parse_matrices(model: EditableModel, text: str) -> dict[str, int]:
    """Module paths of MLP matrices, with their blocks, from "gate 11-15, up 18-24": roles, each with its blocks.

    Raises: BadConfig.
    """
    found, role = {}, ""
    for part in text.split(","):
        *named, blocks = part.split() or [""]
        role = named[0] if named else role  # "up 3, 5": both of one role
        if role not in MLP_ROLES or len(named) > 1:
            known = ", ".join(MLP_ROLES)
            raise BadConfig(f"matrices {text!r} is not of the form 'gate 11-15, up 18-24'; roles are: {known}")
        found |= {model.arch.matrix(layer, MLP_ROLES[role]): layer for layer in parse_layers(model, blocks)}
    return found


def top_blocks(model: EditableModel, last: int = 3, of_each: int = 2) -> list[int]:
    """The last blocks of a model, or the last of both stacks of an encoder-decoder."""
    if model.task != "seq2seq":
        return list(range(len(model.arch)))[-last:]
    boundary = model.arch.encoder_depth
    return [*range(boundary)][-of_each:] + [*range(boundary, len(model.arch))][-of_each:]


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
