"""A learned metric: states are compared after a linear map, where phrasings of one fact lie close together.

Knows one matrix. How it was found, and what distance is near, is known to those who calibrate.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import torch
from torch import Tensor

from errata.errors import BadPatch


class Metric:
    """The map x -> M x before L2 distances are taken.

    Attributes:
        matrix: M (q, d), float32 on the CPU, to be left as it is.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix.detach().to("cpu", torch.float32, copy=True).contiguous()
        if self.matrix.dim() != 2 or not self.matrix.numel() or not self.matrix.isfinite().all():
            raise BadPatch(f"a metric is a finite matrix (q, d); this one is {tuple(self.matrix.shape)}")
        self._placed: dict[torch.device, Tensor] = {}

    @cached_property
    def key(self) -> str:
        """Identity of its content, SHA-256 (hex)."""
        shape = str(tuple(self.matrix.shape)).encode()
        return hashlib.sha256(shape + self.matrix.numpy().tobytes()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes."""
        return self.matrix.numel() * self.matrix.element_size()

    def of(self, states: Tensor) -> Tensor:
        """(N, q) float32: the states (N, d), of any float dtype, as the metric sees them."""
        if states.device not in self._placed:
            self._placed[states.device] = self.matrix.t().contiguous().to(states.device)
        return states.detach().float() @ self._placed[states.device]
