"""What one call of edits adds to a matrix, written down as small as it gets: by the tokens it was trained on.

A linear map's gradient is the sum over tokens of what was asked of its output times its input. Where inputs are fixed,
steps of gradient descent add up to such a sum again. Knows tensors of one matrix (d_out, d_in); it knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from errata.errors import BadPatch


@dataclass(frozen=True, eq=False)
class Share:
    """The change written^T read of a matrix, for the edits of one call. Tensors are copies on the CPU.

    Attributes:
        edits: their ids.
        written: (n, d_out) float32, what was asked of the outputs of n tokens; None where the change in full is
            smaller.
        read: (n, c) float32, what the tokens read; of a token read through a mask, the c inputs that the mask lets
            through, in order. Without `written` the change itself, (d_out, d_in), or (1, e) of the entries that may
            change.
        masks: (m, ceil(d_in / 8)) uint8, packed, those through which tokens are read; None: tokens are read in full.
        mask: (n,) int32, which of them a token is read through.
        shard, nearest: see `memories.Distances`; 0 where there are none.
    """

    edits: tuple[str, ...]
    written: Tensor | None
    read: Tensor
    masks: Tensor | None = None
    mask: Tensor | None = None
    shard: int = 0
    nearest: float = 0.0

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            given: Tensor | None = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, given.detach().to("cpu", dtype, copy=True).contiguous())
        tensors = [self.read] if self.written is None else [self.read, self.written]
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise BadPatch("a residual holds NaN or infinite values; lower the learning rate and edit again")
        if any(tensor.dim() != 2 for tensor in tensors) or len({len(tensor) for tensor in tensors}) > 1:
            raise BadPatch("a residual needs as many inputs as outputs, one a row; the file is damaged")

    @classmethod
    def of(
        cls, edits: Sequence[str], written: Tensor, read: Tensor, *, masks: Tensor | None = None,
        mask: Tensor | None = None, entries: Tensor | None = None, **more: Any,
    ) -> Share:  # fmt: skip
        """In the smaller form, from written (n, d_out), read (n, d_in) and, of tokens read through masks, masks
        (m, d_in) bool and their numbers (n,). `entries` (d_out, d_in) bool are those of the change that count; None:
        all. Tokens of which nothing was asked are left out."""
        asked = written.any(1)
        written, read = written[asked], read[asked]
        kept = read.shape[1] if masks is None else int(masks[0].sum())
        count = written.shape[1] * read.shape[1] if entries is None else int(entries.sum())
        if len(read) * (written.shape[1] + kept) > count:
            change = written.T @ read
            whole = change if entries is None else change[entries][None]
            return cls(tuple(edits), None, whole, None if masks is None else packed(masks), **more)
        if masks is None or mask is None:
            return cls(tuple(edits), written, read, **more)
        number = mask[asked]
        through = read[masks[number].to(read.device)].view(len(read), kept)
        return cls(tuple(edits), written, through, packed(masks), number, **more)

    def check(self, rows: int, width: int) -> None:
        """Raises BadPatch: it is not of a matrix (rows, width)."""
        size = (rows, width) if self.written is None else (self.written.shape[1], self.read.shape[1])
        whole = self.written is not None or len(self.read) == 1 or self.read.shape == size
        if size != (rows, self._kept(width)) or not whole:
            raise BadPatch(f"a share of a residual does not fit its matrix {(rows, width)}; the file is damaged")

    def _kept(self, width: int) -> int:
        """How many inputs of a token are read."""
        if self.masks is None or self.mask is None:
            return width
        if self.masks.shape[1:] == (-(-width // 8),) and len(self.mask) == len(self.read):
            lets = unpacked(self.masks, width).sum(1)
            known = bool(((self.mask >= 0) & (self.mask < len(lets))).all())
            if known and len(lets.unique()) == 1:
                return int(lets[0])
        raise BadPatch("the masks of a residual do not fit what was read through them; the file is damaged")

    def change(self, width: int, device: torch.device, entries: Tensor | None = None) -> Tensor:
        """(d_out, d_in) float32 on a device, for d_in = `width`; of `entries` (d_out, d_in) bool alone, if given."""
        if self.written is None and entries is not None and len(self.read) == 1:
            if self.read.numel() != int(entries.sum()):
                raise BadPatch("a share of a residual has other entries than its shard; the file is damaged")
            return torch.zeros(entries.shape, device=device).masked_scatter_(entries, self.read.to(device))
        change = self._change(width, device)
        return change if entries is None else change * entries

    def _change(self, width: int, device: torch.device) -> Tensor:
        if self.written is None:
            return self.read.to(device)
        read = self.read
        if self.masks is not None and self.mask is not None:
            through = unpacked(self.masks, width)[self.mask.long()]
            read = torch.zeros(len(read), width).masked_scatter_(through, read)
        return self.written.to(device).T @ read.to(device)

    def told(self) -> dict[str, Any]:
        """What is no tensor, as JSON."""
        return {"edits": list(self.edits), "shard": self.shard, "nearest": self.nearest}

    def tensors(self) -> dict[str, Tensor]:
        """By name; those there are."""
        return {name: tensor for name in _DTYPES if (tensor := getattr(self, name)) is not None}

    @classmethod
    def from_parts(cls, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Share:
        """Inverse of `told` and `tensors`. Raises: BadPatch."""
        if "read" not in tensors or any(tensor.dtype != _DTYPES.get(name) for name, tensor in tensors.items()):
            raise BadPatch(f"a residual needs the tensors {', '.join(_DTYPES)}; the file is damaged")
        given = {name: tensors.get(name) for name in _DTYPES}
        return cls(tuple(told["edits"]), **given, shard=int(told["shard"]), nearest=float(told["nearest"]))  # type: ignore[arg-type]


_DTYPES = {"written": torch.float32, "read": torch.float32, "masks": torch.uint8, "mask": torch.int32}


def packed(masks: Tensor) -> Tensor:
    """(m, ceil(d / 8)) uint8 for masks (m, d) bool."""
    return torch.from_numpy(np.packbits(masks.cpu().numpy(), axis=1))


def unpacked(masks: Tensor, width: int) -> Tensor:
    """Inverse of `packed`."""
    return torch.from_numpy(np.unpackbits(masks.numpy(), axis=1, count=width)).bool()


def drawn(seed: int, number: int, count: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """(count,) uint16 from a seed and a number: the same on every machine and in every version, unlike torch's own."""
    bits = np.random.Philox(key=[seed % 2**64, number]).random_raw(-(-count // 4))
    return bits.view(np.uint16)[:count]
