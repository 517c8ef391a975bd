"""A causal tracing study: facts that a model knows, traced one after another until there are enough.

Knows the order of the work, its record on the disk and its progress bar. How a fact is traced and how traces are
averaged is known below.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errata.errors import BadConfig, BadEdit
from errata.locate.effects import Effects, average
from errata.locate.facts import Fact, known, sampled
from errata.locate.record import Record
from errata.locate.traces import CLASSES, KINDS, Settings, Trace
from errata.locate.tracing import check_task, noise_scale, trace, traced_blocks
from errata.models import EditableModel


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        model: the model's name.
        traces: one for each fact, in the order of the work.
        unknown: facts that were asked and left out, since the model's answer is another.
        sigma: standard deviation of the noise.
        window: blocks whose MLP or attention was restored together.
        seconds: time spent tracing, over all runs.
        settings: as asked.
    """

    model: str
    traces: list[Trace]
    unknown: int
    sigma: float
    window: int
    seconds: float
    settings: Settings

    def effects(self) -> Effects:
        """The averages over all facts."""
        return average(self.traces, seed=self.settings.seed)

    def to_json(self) -> dict[str, Any]:
        """What was asked and found, as JSON; single facts are in the record."""
        return {
            "model": self.model, "unknown": self.unknown, "sigma": self.sigma, "seconds": self.seconds,
            **asdict(self.settings), "window": self.window, **self.effects().to_json(),
        }  # fmt: skip


def study(
    model: EditableModel,
    facts: Sequence[Fact],
    *,
    n: int = 100,
    settings: Settings | None = None,
    record: Path | None = None,
    kinds: Sequence[str] = KINDS,
    classes: Sequence[str] = CLASSES,
    progress: bool = False,
) -> Study:
    """Trace `n` facts, or all if they are fewer, of those that the model knows, in an order given by the seed.

    With `record`, a JSONL file, each finished fact is kept, and a later call with the same arguments (`n` may grow)
    goes on from there.

    Raises:
        BadConfig: the model is a classifier, or the record is of another study.
        BadEdit: the model knows none of the facts, or a subject has no token of its own.
    """
    check_task(model)
    if n < 1:
        raise BadConfig(f"'n' is {n}; it must be at least 1")
    settings = settings or Settings()
    ordered = sampled(facts, settings.seed)
    sigma = settings.noise * noise_scale(model, ordered)
    work = {
        "model": model.fingerprint(), "facts": _digest(ordered), "kinds": list(kinds), "classes": list(classes),
        **asdict(settings),
    }  # fmt: skip
    del work["rows"]  # a matter of memory, not of results
    traces, unknown, seconds = [], 0, 0.0
    shown = model.progress.or_terminal(progress)
    with Record(record, work) as done, shown.bar("tracing", min(n, len(ordered)), "fact") as bar:
        for fact, right in known(model, ordered):
            if not right:
                unknown += 1
                continue
            if fact.key not in done.results:
                start = time.perf_counter()
                found = trace(model, fact, sigma, settings, kinds=kinds, classes=classes)
                done.add(fact.key, found.to_json() | {"seconds": time.perf_counter() - start})
            traces.append(Trace.from_json(done.results[fact.key]))
            seconds += done.results[fact.key]["seconds"]
            bar.update()
            if len(traces) == n:
                break
    if not traces:
        raise BadEdit(
            f"{model.name} knows none of the {len(ordered)} facts: its answer is never the expected one; "
            "give facts that it answers right"
        )
    window = settings.resolved_window(len(traced_blocks(model)))
    return Study(model.name, traces, unknown, sigma, window, seconds, settings)


def _digest(facts: Sequence[Fact]) -> str:
    return hashlib.sha256("\n".join(fact.key for fact in facts).encode()).hexdigest()[:16]
