"""Mean and spread of a stream that never ends, kept as three numbers a coordinate and merged without the stream.

Sums are merged by Chan, Golub and LeVeque's formula (1983), so the parts may come in any order and any of them may be
left out again. Knows rows of numbers; it does not know what they were measured of, or who keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_EPS = 1e-7  # what MEND and its successors add to a standard deviation


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of n rows.

    Attributes:
        count: () float32, n.
        mean: (d,) float32.
        m2: (d,) float32, the sum of squared distances from the mean.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """The moments of rows (n, d), n at least 1."""
        values = rows.detach().float()
        mean = values.mean(0)
        return cls(torch.tensor(float(len(rows)), device=rows.device), mean, (values - mean).square().sum(0))

    @classmethod
    def merged(cls, parts: Iterable[Moments]) -> Moments:
        """The moments of all rows together, from those of at least one part."""
        first, *others = parts
        count, mean, m2 = first.count, first.mean, first.m2
        for other in others:
            total, apart = count + other.count, other.mean - mean
            m2 = m2 + other.m2 + apart.square() * (count * other.count / total)
            mean, count = mean + apart * (other.count / total), total
        return cls(count, mean, m2)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], name: str) -> Moments | None:
        """Inverse of `tensors`; None if there is nothing under this name."""
        if f"{name}.count" not in tensors:
            return None
        return cls(*(tensors[f"{name}.{part}"] for part in ("count", "mean", "m2")))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Its three tensors as a patch keeps them, under names that begin with `name`."""
        return {f"{name}.count": self.count, f"{name}.mean": self.mean, f"{name}.m2": self.m2}

    def part(self, columns: slice) -> Moments:
        """Those of some of the coordinates."""
        return Moments(self.count, self.mean[columns], self.m2[columns])

    def to(self, device: torch.device) -> Moments:
        return Moments(self.count.to(device), self.mean.to(device), self.m2.to(device))

    def normalised(self, rows: Tensor, prior: float = 0.0) -> Tensor:
        """Rows (n, d) in standard deviations from the mean, float32.

        `prior` is a number of rows, imagined beside those seen, with mean 0 and in every coordinate the size that
        coordinates have on average. It decides while little was seen and fades with the stream. Without it a first row
        is all zeros and two rows differ in signs alone.
        """
        size = (self.m2 / self.count + self.mean.square()).sqrt().mean()  # a mean of sizes: squares hang on outliers
        imagined = torch.tensor(float(prior), device=self.mean.device)
        whole = Moments.merged([self, Moments(imagined, torch.zeros_like(self.mean), size.square() * imagined)])
        return (rows.float() - whole.mean) / ((whole.m2 / whole.count).sqrt() + _EPS)
