"""Weights under construction: updates written into a model one by one, and the model's own bits back in the end.

Knows matrices by path and low-rank updates. It does not know how they were solved.
"""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor

from errata.models import EditableModel
from errata.patches.weights import Delta, Dense, LowRank, parameter_view


class Draft:
    """A context: inside, the model computes with the updates added so far; on leaving it is as it was, bit for bit."""

    def __init__(self, model: EditableModel) -> None:
        self._model = model
        self._before: dict[str, Tensor] = {}
        self._updates: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._dense: dict[str, Tensor] = {}

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, before in self._before.items():
            self._show(name, before)

    def weight(self, name: str) -> Tensor:
        """The matrix `name` (d_out, d_in) as it was when the draft began."""
        if name not in self._before:
            self._before[name] = parameter_view(self._model.model, name).clone()
        return self._before[name]

    def add(self, name: str, B: Tensor, A: Tensor) -> None:
        """Add B A to the matrix `name`."""
        self.weight(name)
        self._updates.setdefault(name, []).append((B, A))
        self._refresh(name)

    def replace(self, name: str, values: Tensor) -> None:
        """Let all updates of the matrix `name` so far be `values` (d_out, d_in)."""
        self._updates.pop(name, None)
        self._dense[name] = values
        self._refresh(name)

    def replace_factors(self, name: str, B: Tensor, A: Tensor) -> None:
        """Let all updates of the matrix `name` so far be B A."""
        self._updates[name] = []
        self.add(name, B, A)

    def factors(self, name: str) -> tuple[Tensor, Tensor]:
        """The updates of `name` so far as one pair of factors."""
        parts = self._updates[name]
        return torch.cat([B for B, _ in parts], 1), torch.cat([A for _, A in parts])

    def names(self) -> list[str]:
        """The matrices that were changed."""
        return [*self._updates, *self._dense]

    def deltas(self) -> dict[str, Delta]:
        """What a patch has to add to every matrix: factors, or their product where that has fewer numbers."""
        low = {name: _smaller(*self.factors(name)) for name in self._updates}
        return low | {name: Dense(values) for name, values in self._dense.items()}

    def _refresh(self, name: str) -> None:
        total = self._before[name].double()
        if name in self._dense:
            total = total + self._dense[name].to(total)
        for B, A in self._updates.get(name, ()):
            total = total + (B @ A).to(total)
        self._show(name, total)

    @torch.no_grad()
    def _show(self, name: str, values: Tensor) -> None:
        parameter_view(self._model.model, name).copy_(values)


def _smaller(B: Tensor, A: Tensor) -> Delta:
    return LowRank(B, A) if B.numel() + A.numel() < len(B) * A.shape[1] else Dense(B @ A)
