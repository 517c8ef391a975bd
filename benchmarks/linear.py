"""What a solve of locate-then-edit costs: the dense system of the papers against the solver with its kept factor.

    python benchmarks/linear.py --width 6400 --keys 100

What is timed gives the right factor A of the update R A. Both are float64 and run in turns in one process; a figure is
a median of `--rounds`, and the ratio is what counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from errata.solve.linear import solve
from errata.solve.preserving import Prior
from errata.statistics import SecondMoment


def moment(width: int, seed: int) -> SecondMoment:
    """A diagonal over three orders of magnitude, and 200 strong directions besides."""
    seeded = torch.Generator().manual_seed(seed)
    strong = torch.randn(width, 200, generator=seeded, dtype=torch.float64) / width**0.5
    matrix = strong @ strong.T
    matrix.diagonal().add_(torch.logspace(-3, 0, width, dtype=torch.float64))
    # The ends of the spectrum are bounds: the whole would take longer than all that is measured here.
    ends = torch.tensor([1e-3, 1 + float((strong.T @ strong).trace())], dtype=torch.float64)
    return SecondMoment(matrix, 100_000, ends, "the benchmark", f"benchmark {width} {seed}")


def timed(work: Callable[[], Tensor]) -> tuple[dict[str, float], Tensor]:
    """Seconds on the clock and of this process's processors, and what came out."""
    started, used = time.perf_counter(), time.process_time()
    result = work()
    return {"wall": time.perf_counter() - started, "processor": time.process_time() - used}, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=6400)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--out-width", type=int, default=1600)
    parser.add_argument("--weight", type=float, default=15_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    seeded = torch.Generator().manual_seed(1)
    K = torch.randn(given.width, given.keys, generator=seeded, dtype=torch.float64)
    R = torch.randn(given.out_width, given.keys, generator=seeded, dtype=torch.float64)
    C = moment(given.width, 0)

    def dense() -> Tensor:
        return torch.linalg.solve(given.weight * C.matrix + K @ K.T, K).T

    def factored() -> Tensor:
        return solve(K, R, prior=Prior(C, given.weight)).A

    first, _ = timed(factored)  # makes the factor
    slow, fast, difference = [], [], 0.0
    for _ in range(given.rounds):
        (one, wanted), (other, found) = timed(dense), timed(factored)
        slow.append(one)
        fast.append(other)
        difference = max(difference, float((found - wanted).norm() / wanted.norm()))
    row: dict[str, Any] = {"width": given.width, "keys": given.keys, "rounds": given.rounds}
    row |= {"threads": torch.get_num_threads(), "difference": difference}
    for clock in ("wall", "processor"):
        dense_s, factored_s = (statistics.median(round_[clock] for round_ in rounds) for rounds in (slow, fast))
        row[clock] = {
            "dense_s": dense_s,
            "factored_s": factored_s,
            "first_s": first[clock],
            "ratio": dense_s / factored_s,
        }
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
