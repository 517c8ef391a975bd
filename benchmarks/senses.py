"""What a table of senses saves a Backpack: writing and reading with it and without, taking turns in one process.

    python benchmarks/senses.py

Seconds are the process's own CPU time; medians over rounds, and of the ratio in the same round with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from errata.datasets import get
from errata.models import EditableModel
from errata.models.backpack.words import backpack_of

WRITTEN = 24  # tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab:backpack")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    plain, tabled = (EditableModel.load(given.model) for _ in range(2))
    for model in (plain, tabled):
        model.model.eval()
    backpack_of(tabled).cache_senses()
    prompts = [edit.prompt for edit in get("lab-counterfacts").edits()[:64]]
    for work, job in _jobs(prompts).items():
        pairs = [(_seconds(job, plain), _seconds(job, tabled)) for _ in range(given.rounds + 1)][1:]
        ratios = [with_table / without for without, with_table in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(json.dumps({
            "work": work, "without": statistics.median(one for one, _ in pairs),
            "with": statistics.median(one for _, one in pairs), "ratio": middle, "quartiles": [low, high],
            "n": given.rounds,
        }))  # fmt: skip


def _jobs(prompts: list[str]) -> dict[str, Callable[[EditableModel], object]]:
    def read(model: EditableModel) -> object:
        with torch.no_grad():
            return model.forward(model.encode(prompts))

    def write(count: int) -> Callable[[EditableModel], object]:
        return lambda model: model.generate(prompts[:count], max_new_tokens=WRITTEN)

    return {f"read {len(prompts)}": read, "write x 1": write(1), "write x 16": write(16)}


def _seconds(job: Callable[[EditableModel], object], model: EditableModel) -> float:
    started = time.process_time()
    job(model)
    return time.process_time() - started


if __name__ == "__main__":
    main()
