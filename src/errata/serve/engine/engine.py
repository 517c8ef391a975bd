"""The engine: one thread that decodes many answers together, and takes on new versions of the model between steps.

Knows requests, versions and rows, and whose turn it is. It knows neither HTTP nor sheets.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from errata.errors import BadEdit
from errata.models import EditableModel
from errata.models.decoding import stop_ids
from errata.patches.base import Patch
from errata.patches.states import Firing
from errata.serve.engine.answer import Answer, Hooks
from errata.serve.engine.batch import Batch, fail_all
from errata.serve.engine.request import Busy, Fired, Generation, Sampling, Stopped, TooLong
from errata.serve.engine.rows import begin, can_join
from errata.serve.engine.version import Version


@dataclass(frozen=True)
class Stats:
    """What the engine is doing, and what it has done since it was made.

    Attributes:
        running, waiting: requests with a row, and without.
        versions: models alive, the base among them.
        head: of the newest version.
        tokens, steps: tokens chosen, and forward passes it took.
        batch: rows of the latest pass.
    """

    running: int
    waiting: int
    versions: int
    head: int
    tokens: int
    steps: int
    batch: int


@dataclass
class _Counts:
    tokens: int = 0
    steps: int = 0
    batch: int = 0


class Engine:
    """Answers requests with the newest version of a model, many at a time.

    A request is tied to the version that is newest when it is submitted, until its last token. Rows of a causal
    model join the running batch of their version at any step; an encoder-decoder, a classifier or a model without
    a plain key-value cache takes what waits as one batch and then works it off.
    """

    def __init__(
        self, base: EditableModel, *, max_batch: int = 32, max_waiting: int = 256, metrics: Hooks | None = None
    ) -> None:
        """Serve `base`, which must carry no patches and is never changed; `swap` brings the first edits.

        Args:
            max_batch: the most rows that are decoded at a time.
            max_waiting: the most requests that wait for a row.
        Raises: BadModel (it carries patches).
        """
        self.base, self.max_batch, self.max_waiting = base, max_batch, max_waiting
        self._hooks = metrics
        self._parent = self._newest = Version.of(base, 0, ())
        self._alive = weakref.WeakSet([self._parent])
        self._joins = can_join(base)
        self._stops = frozenset() if base.task == "classification" else frozenset(stop_ids(base).tolist())
        self._vocabulary = base.model.get_input_embeddings().get_parameter("weight").shape[0]
        self._waiting: deque[tuple[Generation, Version]] = deque()
        self._batches: deque[Batch] = deque()  # the first one's turn is next
        self._starting = 0  # requests whose prompts are being read
        self._counts = _Counts()
        self._work = threading.Condition()
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="errata-versions")
        self._thread: threading.Thread | None = None
        self._open, self._stopping = True, False

    # -- from any thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to answer; what was submitted before is answered now."""
        self._thread = threading.Thread(target=self._run, name="errata-engine", daemon=True)
        self._thread.start()

    def stop(self, *, drain: float = 0.0) -> None:
        """Take nothing more, let what runs and waits finish for `drain` seconds, and fail the rest with Stopped."""
        with self._work:
            self._open = False
        until = time.monotonic() + drain
        while self._thread is not None and self._busy() and time.monotonic() < until:
            time.sleep(0.01)
        with self._work:
            self._stopping = True
            self._work.notify()
        self._builder.shutdown(wait=True, cancel_futures=True)
        if self._thread is not None:
            self._thread.join()
        self._fail_all()

    def submit(
        self, ids: Sequence[int], sampling: Sampling, *, parent: bool = False, timeout: float | None = None
    ) -> Generation:
        """Ask for what follows a prompt of these ids (as `models.encoding.prompt_ids` makes them).

        Args:
            parent: ask the base model, without any edit.
            timeout: seconds until it fails with TimedOut, waiting included.
        Raises: BadEdit (no ids, or none of the model's), TooLong, Busy, Stopped.
        """
        return self.submit_all([(ids, sampling)], parent=parent, timeout=timeout)[0]

    def submit_all(
        self,
        asked: Sequence[tuple[Sequence[int], Sampling]],
        *,
        parent: bool = False,
        timeout: float | None = None,
        version: Version | None = None,
        fired: Sequence[Fired] = (),
    ) -> list[Generation]:
        """As `submit`, for several prompts that one version is to answer; all of them are taken, or none.

        Args:
            version: the one for which the prompts were rendered; by default the newest, or the base for `parent`.
            fired: edits that wrote notes into the prompts.
        """
        for ids, _ in asked:
            self._check(ids)
        made = [Generation(ids, sampling, timeout=timeout, fired=fired) for ids, sampling in asked]
        with self._work:
            if not self._open:
                raise Stopped("the engine is shutting down; ask again when it is back")
            if len(self._waiting) + len(made) > self.max_waiting:
                raise Busy(f"{len(self._waiting)} requests are waiting, which leaves no room for this; ask again soon")
            answering = version or self.version(parent=parent)
            self._waiting += [(generation, answering) for generation in made]
            self._work.notify()
        return made

    def swap(self, head: int, patches: Sequence[Patch]) -> Future[int]:
        """Build the version of a sheet's `head` in the background, and make it the newest.

        The future resolves to the newest head as soon as the next request to be submitted is answered by it; it raises
        what attaching raised, and the version before stays. An older head than the newest changes nothing.
        """
        return self._builder.submit(self._swap, head, tuple(patches))

    def version(self, *, parent: bool = False) -> Version:
        """Return the newest version, or the base."""
        return self._parent if parent else self._newest

    @property
    def head(self) -> int:
        """Head of the newest version."""
        return self._newest.head

    def stats(self) -> Stats:
        """What it is doing now."""
        with self._work:
            running = self._starting + sum(len(batch.answers) for batch in self._batches)
            waiting, alive, counts = len(self._waiting), len(self._alive), self._counts
            return Stats(running, waiting, alive, self.head, counts.tokens, counts.steps, counts.batch)

    def _check(self, ids: Sequence[int]) -> None:
        if not ids:
            raise BadEdit("the prompt has no tokens; write at least one word")
        if not all(0 <= id < self._vocabulary for id in ids):
            raise BadEdit(f"the prompt has token ids that the model lacks; use ids from 0 to {self._vocabulary - 1}")
        if self.base.context is not None and len(ids) > self.base.context:
            raise TooLong(
                f"the prompt has {len(ids)} tokens; the model reads at most {self.base.context}: shorten it"
            )

    def _swap(self, head: int, patches: tuple[Patch, ...]) -> int:
        if head >= self.head:
            version = Version.of(self.base, head, patches)
            with self._work:
                self._newest = version
                self._alive.add(version)
        return self.head

    def _busy(self) -> bool:
        with self._work:
            return bool(self._waiting or self._starting or self._batches)

    # -- in the engine's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._sweep()
                    self._admit()
                    self._turn()
        finally:
            with self._work:
                self._open = False
            self._fail_all()

    def _wait(self) -> bool:
        """Until there is work; False at the end."""
        with self._work:
            self._work.wait_for(lambda: self._stopping or self._waiting or self._batches)
            return not self._stopping

    def _sweep(self) -> None:
        """Fail what was cancelled or took too long, so that it neither waits nor runs on."""
        with self._work:
            late = [(one, error) for one in self._waiting if (error := one[0].overdue())]
            for one, _ in late:
                self._waiting.remove(one)
        for (generation, _), error in late:
            generation.fail(error)
        for batch in self._batches:
            for answer in batch.answers:
                if not answer.ended and (error := answer.generation.overdue()):
                    answer.fail(error)

    def _admit(self) -> None:
        """Give rows to what waits, first come first served."""
        with self._work:
            if not self._joins and self._batches:
                return
            running = sum(not answer.ended for batch in self._batches for answer in batch.answers)
            free = self.max_batch - running
            taken = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            self._starting = len(taken)
        for version in dict.fromkeys(version for _, version in taken):
            self._begin(version, [generation for generation, its in taken if its is version])
        with self._work:
            self._starting = 0

    def _begin(self, version: Version, generations: Sequence[Generation]) -> None:
        """Read the prompts in one pass, choose the first tokens, and put the rows with the others of their version."""
        answers = [Answer(generation, version, self._stops, self._hooks) for generation in generations]
        try:
            with self._pass(len(answers)), version.recording() as firings:
                rows = begin(version.model, [generation.ids for generation in generations])
            batch = Batch(version, answers, rows)
            self._choose(batch, firings)
        except Exception as error:
            fail_all(answers, error)
            return
        if not batch.answers:
            return
        home = next((one for one in self._batches if one.version is version), None)
        if home is None:
            with self._work:
                self._batches.append(batch)
            return
        try:
            home.join(batch)
        except Exception as error:
            home.fail(error)
            batch.fail(error)
            self._drop(home)

    def _turn(self) -> None:
        """One step of the batch whose turn it is."""
        if not self._batches:
            return
        batch = self._batches[0]
        try:
            batch.prune()
            if batch.answers:
                with self._pass(len(batch.answers)), batch.version.recording() as firings:
                    batch.rows.step()
                self._choose(batch, firings)
        except Exception as error:
            batch.fail(error)
        with self._work:
            self._batches.rotate(-1)
        if not batch.answers:
            self._drop(batch)

    def _choose(self, batch: Batch, firings: Sequence[Firing]) -> None:
        self._counts.tokens += len(batch.answers)
        batch.take(firings)

    @contextmanager
    def _pass(self, rows: int) -> Iterator[None]:
        """Time and count a forward pass."""
        started = time.perf_counter()
        yield
        self._counts.steps += 1
        self._counts.batch = rows
        if self._hooks:
            self._hooks.stepped(rows, time.perf_counter() - started)

    def _drop(self, batch: Batch) -> None:
        with self._work:
            self._batches.remove(batch)

    def _fail_all(self) -> None:
        with self._work:
            waiting, self._waiting = list(self._waiting), deque()
            batches, self._batches = list(self._batches), deque()
        error = Stopped("the engine stopped before the answer was complete; ask again when it is back")
        for generation, _ in waiting:
            generation.fail(error)
        for answer in (answer for batch in batches for answer in batch.answers):
            if not answer.ended:
                answer.fail(error)
