"""MEND's network: turns the two factors of a matrix's gradient into an update of the matrix (Mitchell et al., 2022).

An input x and an output gradient g are normalised per dimension, by mean and deviation over training, and go through
z <- z + relu(scale (A B z + b) + shift) twice, z = [x; g]; the update is -step (sum over tokens of g~ x~^T): at the
start a descent along the normalised gradient. Knows tensors and shapes; knows no model and no edit.

Differs from the published code where that is wrong or suits one model only: the update descends from the first step on;
step sizes are learned as their logarithms, at a rate of their own; a dimension that hardly ever moved in training
cannot be blown up by its tiny deviation; statistics are a matrix's own; B starts with unit gain rather than unit
entries, so that one learning rate suits any width. Where asked, the update reads inputs through the inverse of their
second moment, as ROME's does: what an edit shares with ordinary inputs then moves little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FLOOR = 0.05
"""Least deviation of a dimension, in units of the root mean square deviation of its matrix."""


@dataclass(frozen=True)
class Site:
    """A matrix that is edited.

    Attributes:
        path: of its module.
        d_out: what it writes.
        d_in: what it reads.
        unit: the step that changes what it writes for the very token of an edit by about its usual size.
    """

    path: str
    d_out: int
    d_in: int
    unit: float

    @property
    def shape(self) -> str:
        """The name of its shape: matrices of one shape share a network."""
        return f"{self.d_out}x{self.d_in}"


class Statistics(nn.Module):
    """Mean and deviation of every dimension over all rows seen, by Chan's formula for merging batches."""

    count: Tensor
    mean: Tensor
    spread: Tensor  # sum of squared distances from the mean

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Take in rows (n, size)."""
        if not len(rows):
            return
        rows = rows.double()
        mean = rows.mean(0)
        total = self.count + len(rows)
        apart = mean - self.mean
        self.spread += (rows - mean).square().sum(0) + apart.square() * self.count * len(rows) / total
        self.mean += apart * len(rows) / total
        self.count.copy_(total)

    @property
    def deviation(self) -> Tensor:
        """(size,), float64, of no dimension less than a share of the usual one."""
        found = (self.spread / (self.count - 1)).sqrt()
        return found.clamp(min=FLOOR * found.square().mean().sqrt() + 1e-30)

    def normalised(self, rows: Tensor) -> Tensor:
        """(n, size): distances from the mean in deviations; as given while fewer than two rows were seen."""
        if self.count < 2:
            return rows
        return (rows - self.mean.to(rows)) / self.deviation.to(rows)


class Layer(nn.Module):
    """z + relu(scale (A B z + b) + shift), scale and shift by matrix; the identity at the start."""

    def __init__(self, size: int, rank: int, matrices: int, relu: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.relu = relu
        self.A = nn.Parameter(torch.zeros(size, rank))
        self.B = nn.Parameter(torch.randn(rank, size, generator=generator) / math.sqrt(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(matrices, size))
        self.shift = nn.Parameter(torch.zeros(matrices, size))

    def forward(self, z: Tensor, matrix: int) -> Tensor:
        moved = self.scale[matrix] * (z @ self.B.T @ self.A.T + self.bias) + self.shift[matrix]
        # A relu by clamping has slope one at zero, where all of it starts; the usual one would never begin to learn.
        return z + (moved.clamp(min=0) if self.relu else moved)


class Hypernetwork(nn.Module):
    """One network for each shape among the matrices, a step size for each matrix.

    Args:
        sites: the matrices.
        rank: of A B, at most the size of [x; g]. Published: 1920.
        step: step size at the start, in each matrix's unit.
        relu: "all" as published, or "inner": the last layer has none, so that it can take away as well as add.
        apart: whether updates read inputs through the inverse of their second moment (`set_apart`).
        seed: draws B.
    """

    def __init__(
        self, sites: Sequence[Site], *, rank: int, step: float, relu: str, seed: int, apart: bool = False
    ) -> None:
        super().__init__()
        self.sites = tuple(sites)
        generator = torch.Generator().manual_seed(seed)
        self.inputs = nn.ModuleList(Statistics(site.d_in) for site in sites)
        self.gradients = nn.ModuleList(Statistics(site.d_out) for site in sites)
        self.log_steps = nn.Parameter(torch.full((len(sites),), math.log(step)))
        for number, site in enumerate(sites if apart else ()):
            self.register_buffer(f"reader{number}", torch.eye(site.d_in))
        self.apart = apart
        self.nets = nn.ModuleDict()
        for shape in dict.fromkeys(site.shape for site in sites):
            of_shape = [site for site in sites if site.shape == shape]
            size = of_shape[0].d_in + of_shape[0].d_out
            flags = (True, relu == "all")
            self.nets[shape] = nn.ModuleList(
                Layer(size, min(rank, size), len(of_shape), flag, generator) for flag in flags
            )

    def observe(self, number: int, inputs: Tensor, gradients: Tensor) -> None:
        """Take the factors of matrix `number` into its statistics, in training mode only."""
        if self.training:
            self._of(self.inputs, number).add(inputs)
            self._of(self.gradients, number).add(gradients)

    @torch.no_grad()
    def set_apart(self, number: int, moment: Tensor, ridge: float, inputs: Tensor) -> None:
        """Let updates of matrix `number` read inputs x as moment^-1 x.

        `moment` (d_in, d_in) is E[x x^T] of ordinary inputs; `ridge`, in units of its mean diagonal, is added. The step
        keeps its meaning: for `inputs` (n, d_in) of edits the change of what the matrix writes stays as large.
        """
        statistics, x = self._of(self.inputs, number), inputs.double()
        regular = moment.double().clone()
        regular.diagonal().add_(ridge * regular.diagonal().mean())
        reader = torch.linalg.inv(regular) * statistics.deviation[:, None]
        normal = statistics.normalised(x)
        reader *= (normal * x).sum() / ((normal @ reader) * x).sum()
        self.get_buffer(f"reader{number}").copy_(reader)

    def forward(self, number: int, inputs: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Factors B (d_out, n) and A (n, d_in) of the update B A of matrix `number`.

        `inputs` (n, d_in) and `gradients` (n, d_out) are float32, one row a token.
        """
        site = self.sites[number]
        z = torch.cat(
            [self._of(self.inputs, number).normalised(inputs), self._of(self.gradients, number).normalised(gradients)],
            1,
        )
        place = [one.path for one in self.sites if one.shape == site.shape].index(site.path)
        for layer in self._layers(site.shape):
            z = layer(z, place)
        A, g = z.split([site.d_in, site.d_out], 1)
        if self.apart:
            A = A @ self.get_buffer(f"reader{number}")
        return (-site.unit * self.log_steps[number].exp() * g).T, A

    def groups(self, lr: float, lr_steps: float) -> list[dict[str, Any]]:
        """Adam's parameter groups: the networks, and the step sizes at a rate of their own."""
        own = [parameter for name, parameter in self.named_parameters() if name != "log_steps"]
        return [{"params": own, "lr": lr}, {"params": [self.log_steps], "lr": lr_steps}]

    def steps(self) -> dict[str, float]:
        """The step size of every matrix, in its unit."""
        sizes = self.log_steps.detach().exp().tolist()
        return {site.path: size for site, size in zip(self.sites, sizes, strict=True)}

    def _of(self, statistics: nn.ModuleList, number: int) -> Statistics:
        found = statistics[number]
        assert isinstance(found, Statistics)
        return found

    def _layers(self, shape: str) -> nn.ModuleList:
        found = self.nets[shape]
        assert isinstance(found, nn.ModuleList)
        return found
