"""Where things are in a transformer, found by structure: its stacks of blocks and their matrices.

Knows modules, shapes and paths. It knows no model class by name, runs nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from errata.errors import BadConfig, BadModel

ROLES = ("mlp_up", "mlp_gate", "mlp_down", "attn_out")

Linear = nn.Linear | Conv1D


def shape(matrix: Linear) -> tuple[int, int]:
    """(d_out, d_in) of a linear module, whichever way round its weight is stored."""
    rows, columns = matrix.weight.shape
    return (columns, rows) if isinstance(matrix, Conv1D) else (rows, columns)


@dataclass(frozen=True, slots=True)
class Arch:
    """The blocks of one model, in the order data flows, and the paths of their matrices.

    Attributes:
        blocks: module path of every block; an encoder-decoder lists its encoder blocks first.
        encoder_depth: how many of the blocks attend in both directions: 0 for a causal model, the encoder's
            blocks of an encoder-decoder, all blocks of an encoder classifier.
        roles: for every block, its matrices: role to module path.
    """

    blocks: tuple[str, ...]
    encoder_depth: int
    roles: tuple[Mapping[str, str], ...]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Arch:
        """Read the structure of `model`.

        Raises:
            BadModel: there is no list of blocks that hold linear layers.
        """
        width = model.config.get_text_config().hidden_size
        if model.config.is_encoder_decoder:
            encoder = _stack(model, model.get_encoder())
            blocks = encoder + _stack(model, model.get_decoder())
            depth = len(encoder)
        else:
            blocks = _stack(model, model)
            depth = 0 if _attends_backwards_only(model) else len(blocks)
        return cls(blocks, depth, tuple(_matrices(model.get_submodule(path), path, width) for path in blocks))

    def __len__(self) -> int:
        return len(self.blocks)

    def causal(self, layer: int) -> bool:
        """Whether a state of this block depends only on what comes before it."""
        return self._index(layer) >= self.encoder_depth

    def stack(self, layer: int) -> range:
        """The blocks of the stack that `layer` belongs to: those of the encoder, or those of the decoder."""
        boundary = self.encoder_depth
        return range(boundary, len(self)) if self._index(layer) >= boundary else range(boundary)

    def matrices(self, layer: int) -> dict[str, str]:
        """Every matrix of a block that has a role: role to module path."""
        return dict(self.roles[self._index(layer)])

    def matrix(self, layer: int, role: str) -> str:
        """Module path of the matrix with `role` (one of ROLES) in block `layer`.

        Raises:
            BadConfig: no such block, or the block has no matrix in this role.
        """
        found = self.roles[self._index(layer)]
        if role not in found:
            raise BadConfig(
                f"block {layer} ({self.blocks[layer]}) has no matrix '{role}'; "
                f"choose one of: {', '.join(found) or 'none'}"
            )
        return found[role]

    def _index(self, layer: int) -> int:
        depth = len(self)
        if not -depth <= layer < depth:
            raise BadConfig(f"block {layer} does not exist; the model has {depth} blocks, 0 to {depth - 1}")
        return layer % depth


def _stack(model: PreTrainedModel, root: nn.Module) -> tuple[str, ...]:
    """Paths of the blocks in the longest list of blocks below `root`."""
    longest = max(_block_lists(root), key=len, default=None)
    if longest is None:
        raise BadModel(
            f"cannot find the blocks of {type(model).__name__}: looked for an nn.ModuleList whose every "
            "member holds linear layers; use a transformer model that keeps its blocks in one"
        )
    path = next(path for path, module in model.named_modules() if module is longest)
    return tuple(f"{path}.{position}" for position in range(len(longest)))


def _block_lists(root: nn.Module) -> Iterator[nn.ModuleList]:
    """The outermost lists: one inside a block (T5's sublayers, a mixture's experts) is part of that block."""
    for child in root.children():
        if isinstance(child, nn.ModuleList) and len(child) and all(_linears(block) for block in child):
            yield child
        else:
            yield from _block_lists(child)


def _linears(module: nn.Module) -> dict[str, Linear]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Linear)}


def _attends_backwards_only(model: PreTrainedModel) -> bool:
    if model.can_generate():
        return True
    # A classifier may sit on either kind of stack. Attention carries the flag; without it the stack
    # is an encoder.
    return any(getattr(module, "is_causal", False) for module in model.modules())


def _matrices(block: nn.Module, path: str, width: int) -> Mapping[str, str]:
    """Roles by shape; only attention is told from the rest by its name, since a shape cannot tell it."""
    linears = _linears(block)
    attention = next((root for name in linears if (root := _attention_root(name))), None)
    heads = {name: part for name, part in linears.items() if attention and name.startswith(attention + ".")}
    mlp = {name: part for name, part in linears.items() if not _attention_root(name)}
    found = {}
    if outputs := [name for name, part in heads.items() if shape(part)[0] == width]:
        found["attn_out"] = outputs[-1]
    found.update(_mlp_roles(mlp, width))
    return MappingProxyType({role: f"{path}.{found[role]}" for role in ROLES if role in found})


def _attention_root(name: str) -> str | None:
    """Path of the outermost attention module around a linear: the first one of a block is self-attention."""
    parts = name.split(".")
    for position, part in enumerate(parts[:-1]):
        if "att" in part.lower():
            return ".".join(parts[: position + 1])
    return None


def _mlp_roles(mlp: Mapping[str, Linear], width: int) -> dict[str, str]:
    writers = [name for name, part in mlp.items() if shape(part)[0] == width]
    if not writers:
        return {}
    # With an inner width of its own the down-projection is unmistakable; else it is the one declared last.
    down = next((name for name in reversed(writers) if shape(mlp[name])[1] != width), writers[-1])
    inner = shape(mlp[down])[1]
    readers = [name for name, part in mlp.items() if name != down and shape(part) == (inner, width)]
    if len(readers) == 2:
        gate, up = _gate_and_up(readers)
        return {"mlp_down": down, "mlp_gate": gate, "mlp_up": up}
    return {"mlp_down": down, "mlp_up": readers[0]} if len(readers) == 1 else {"mlp_down": down}


def _gate_and_up(readers: list[str]) -> tuple[str, str]:
    """The gate is the one that goes through the nonlinearity: named so, or by custom declared first."""
    first, second = readers
    return (second, first) if "gate" in second.rpartition(".")[2] else (first, second)
