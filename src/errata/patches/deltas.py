"""How the change of one parameter is written down: as factors, as rows, or in full.

Knows tensors of one parameter, matrices as (d_out, d_in), all others in their own shape. It knows no model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import torch
from torch import Tensor

from errata.errors import BadPatch

_MOST_RANKS = 64  # a higher rank is not looked for: finding it costs more than it saves


class Delta(ABC):
    """A change to add to a parameter. Its tensors are copies on the CPU, numbers in float32."""

    form: ClassVar[str]

    def _own(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        given: Tensor = getattr(self, name)
        kept = given.detach().to("cpu", dtype, copy=True).contiguous()
        if not kept.isfinite().all():
            raise BadPatch("a weight change holds NaN or infinite values; lower the learning rate and edit again")
        object.__setattr__(self, name, kept)

    def tensors(self) -> dict[str, Tensor]:
        """What it is made of, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def of(cls, parts: Mapping[str, Tensor]) -> Self:
        """Inverse of `tensors`.

        Raises:
            BadPatch: a tensor is missing, or its shape or dtype is wrong.
        """
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        wanted = {name: torch.int64 if name == "index" else torch.float32 for name in names}
        if {name: tensor.dtype for name, tensor in parts.items()} != wanted:
            raise BadPatch(f"a {cls.form} change needs the tensors {', '.join(names)}; the patch is damaged")
        return cls(**parts)

    @abstractmethod
    def scaled(self, share: float) -> Self:
        """`share` times the change."""

    @abstractmethod
    def fits(self, shape: torch.Size) -> bool:
        """Whether a parameter of this shape can take the change."""

    @abstractmethod
    def add_to(self, total: Tensor) -> None:
        """Add the change in place. The bits it gives depend on the values of `total` alone, not on its strides."""


@dataclass(frozen=True, eq=False)
class LowRank(Delta):
    """The matrix B A: B is (d_out, r), A is (r, d_in)."""

    form: ClassVar[str] = "low-rank"
    B: Tensor
    A: Tensor

    def __post_init__(self) -> None:
        self._own("B")
        self._own("A")
        if self.B.dim() != 2 or self.A.dim() != 2 or self.B.shape[1] != self.A.shape[0]:
            shapes = f"{tuple(self.B.shape)} and {tuple(self.A.shape)}"
            raise BadPatch(f"low-rank factors have shapes {shapes}; they must be (d_out, r) and (r, d_in)")

    def scaled(self, share: float) -> Self:
        return type(self)(self.B * share, self.A)

    def fits(self, shape: torch.Size) -> bool:
        return shape == (self.B.shape[0], self.A.shape[1])

    def add_to(self, total: Tensor) -> None:
        # A fused multiply-add would round differently into a transposed total.
        total.add_(self.B.to(total.device) @ self.A.to(total.device))


@dataclass(frozen=True, eq=False)
class Rows(Delta):
    """Changes of some rows: `values` (n, ...) are added at the different positions `index` (n,)."""

    form: ClassVar[str] = "rows"
    index: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        self._own("index", torch.int64)
        self._own("values")
        if self.index.dim() != 1 or self.values.shape[:1] != self.index.shape:
            shapes = f"{tuple(self.index.shape)} and {tuple(self.values.shape)}"
            raise BadPatch(f"row index and values have shapes {shapes}; they must be (n,) and (n, ...)")
        if len(self.index.unique()) != len(self.index) or (self.index < 0).any():
            raise BadPatch("row positions must be different and not negative; the patch is damaged")

    def scaled(self, share: float) -> Self:
        return type(self)(self.index, self.values * share)

    def fits(self, shape: torch.Size) -> bool:
        below = not len(self.index) or int(self.index.max()) < shape[0]
        return self.values.shape[1:] == shape[1:] and below

    def add_to(self, total: Tensor) -> None:
        total.index_add_(0, self.index.to(total.device), self.values.to(total.device, total.dtype))


@dataclass(frozen=True, eq=False)
class Dense(Delta):
    """A change in full, in the parameter's own shape."""

    form: ClassVar[str] = "dense"
    values: Tensor

    def __post_init__(self) -> None:
        self._own("values")

    def scaled(self, share: float) -> Self:
        return type(self)(self.values * share)

    def fits(self, shape: torch.Size) -> bool:
        return self.values.shape == shape

    def add_to(self, total: Tensor) -> None:
        total.add_(self.values.to(total.device))


FORMS: dict[str, type[Delta]] = {form.form: form for form in (LowRank, Rows, Dense)}


def smallest(before: Tensor, after: Tensor) -> Delta | None:
    """The smallest form of `after - before`, None where nothing changed.

    Rows and dense are the float32 difference itself. Factors are taken only where they miss it by no more than the
    rounding of the weights in float32, so a matrix that moved in every direction stays dense.
    """
    if before.shape != after.shape:
        raise BadPatch(f"a parameter changed its shape from {tuple(before.shape)} to {tuple(after.shape)}")
    old, new = before.detach().float(), after.detach().float()
    change = new - old
    if not change.any():
        return None
    forms: list[Delta] = [Dense(change)]
    if change.dim():
        index = change.reshape(len(change), -1).any(1).nonzero()[:, 0]
        if len(index) <= len(change) // 2:
            forms.append(Rows(index, change[index]))
    if change.dim() == 2 and change.isfinite().all():
        rounding = 4 * torch.finfo(torch.float32).eps * torch.maximum(old.abs().max(), new.abs().max())
        factors = _factors(change.double(), float(rounding))
        if factors:
            forms.append(factors)
    return min(forms, key=_numbers)


def _numbers(delta: Delta) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in delta.tensors().values())


def _factors(change: Tensor, tolerance: float) -> LowRank | None:
    """Factors of a small rank whose product is within `tolerance` of every entry, if there are any.

    A seeded range finder (Halko, Martinsson and Tropp, 2011), so that a large matrix needs no full decomposition.
    """
    width = min(_MOST_RANKS, min(change.shape) // 4)
    if not width:
        return None
    seeded = torch.Generator(device="cpu").manual_seed(0)
    probes = torch.randn(change.shape[1], width, generator=seeded, dtype=change.dtype).to(change.device)
    basis = torch.linalg.qr(change @ probes).Q
    left, strengths, right = torch.linalg.svd(basis.T @ change, full_matrices=False)
    tails = strengths.square().flip(0).cumsum(0).flip(0).sqrt()  # what is lost by stopping before each rank
    rank = max(1, int((tails > tolerance).sum()))
    factors = LowRank((basis @ left[:, :rank]) * strengths[:rank], right[:rank])
    miss = factors.B.double() @ factors.A.double() - change.cpu()
    return factors if float(miss.abs().max()) <= tolerance else None
