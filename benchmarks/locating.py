"""What choosing where to edit costs: SaLEM's salience against causal tracing, side by side in one process.

    python benchmarks/locating.py --model lab:gpt --rounds 5 > locating.json

Both look at the same known facts and their edits of `lab-counterfacts`: salience takes gradients of passing, failing
and rephrased samples, tracing restores every state of corrupted runs. CPU seconds, medians over rounds with
quartiles, and the ratio of the two in the same round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from errata import datasets
from errata.locate.facts import facts_of
from errata.locate.salience import salience, samples_of
from errata.locate.study import study
from errata.locate.traces import Settings
from errata.models import EditableModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab:gpt")
    parser.add_argument("--n", type=int, default=48, help="edits, and facts, that are looked at")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    model, edits = EditableModel.load(given.model), datasets.get("lab-counterfacts").edits()
    ratios, salient, traced = [], [], []
    for number in range(given.rounds):
        part = edits[number * given.n : (number + 1) * given.n]
        salient.append(_seconds(lambda part=part: salience(model, samples_of(model, part))))
        facts = facts_of(part, "lab-counterfacts")
        traced.append(_seconds(lambda facts=facts: study(model, facts, n=len(facts), settings=Settings())))
        ratios.append(salient[-1] / traced[-1])
    print(json.dumps({
        "model": given.model, "n": given.n, "rounds": given.rounds, "salience_seconds": _spread(salient),
        "tracing_seconds": _spread(traced), "ratio": _spread(ratios),
    }))  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high}


if __name__ == "__main__":
    main()
