"""Engines for tests: answers without an event loop, and a gate that lets the engine make so many steps and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.codebook import CodebookPatch, Entry
from errata.serve.engine.engine import Engine, Stats
from errata.serve.engine.request import Finished, Generation, Sampling

PATIENCE = 60.0  # seconds that no answer here takes


class Gate:
    """Hooks that hold the engine after every forward pass until it is let on."""

    def __init__(self) -> None:
        self._passes = threading.Semaphore(0)
        self._made = threading.Semaphore(0)
        self.shut = True
        self.rows: list[int] = []
        self.outcomes: list[str] = []
        self.waits: list[float] = []

    def started(self, waited: float) -> None:
        self.waits.append(waited)

    def stepped(self, rows: int, seconds: float) -> None:
        self.rows.append(rows)
        self._made.release()
        if self.shut:
            assert self._passes.acquire(timeout=PATIENCE)

    def ended(self, outcome: str, prompt: int, completion: int, fired: int, seconds: float) -> None:
        self.outcomes.append(outcome)

    def reached(self) -> None:
        """Wait until the engine has made one more pass."""
        assert self._made.acquire(timeout=PATIENCE)

    def let(self, passes: int) -> None:
        """Let the engine go on, so many times, and wait until it stands again."""
        for _ in range(passes):
            self._passes.release()
            self.reached()

    def open(self) -> None:
        """Hold it no more."""
        self.shut = False
        self._passes.release()


def codebook(model: EditableModel, prompt: str, id: str = "e1", *, seed: int = 0) -> CodebookPatch:
    """One key at the prompt's state at block 1; its value is a far-away state, so that the answer changes."""
    batch = model.encode([prompt])
    state = model.prefix(batch, 1).hidden[0, int(batch.query[0])].detach()
    value = torch.randn(state.shape, generator=torch.Generator().manual_seed(seed)) * 5 * state.abs().mean()
    entry = Entry(id, state, value, (1, 0), 0.1, prompt)
    return CodebookPatch(1, [entry], method="grace", config={}, edits=[id])


@contextmanager
def running(base: EditableModel, **options: Any) -> Iterator[Engine]:
    engine = Engine(base, **options)
    engine.start()
    gate = options.get("metrics")
    try:
        yield engine
    finally:
        if gate is not None:
            gate.open()
        engine.stop()


def ask(engine: Engine, prompt: str, sampling: Sampling | None = None, **options: Any) -> Generation:
    """Submit a prompt; greedily, 14 tokens at most, unless told otherwise."""
    (ids,) = prompt_ids(engine.base, [prompt])
    return engine.submit(ids, sampling or Sampling(max_tokens=14, temperature=0), **options)


def answers(generations: Sequence[Generation]) -> list[Finished]:
    return [generation.finished.result(PATIENCE) for generation in generations]


def one(engine: Engine, prompt: str, sampling: Sampling | None = None, **options: Any) -> Finished:
    return ask(engine, prompt, sampling, **options).finished.result(PATIENCE)


def idle(engine: Engine) -> Stats:
    """What it did, once its last row is put away: that is just after the answer, in another thread."""
    until = time.monotonic() + PATIENCE
    while (stats := engine.stats()).running or stats.waiting:
        assert time.monotonic() < until, "it never came to rest"
        time.sleep(0.01)
    return stats
