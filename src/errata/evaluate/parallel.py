"""Several methods of a recipe at once, one process each: streams are long, and no method waits for another.

Processes share the machine's cores evenly. Knows a directory of results and what is left to run in it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path

import torch
from tqdm import tqdm

from errata.evaluate.recipe import Contender
from errata.evaluate.results import Results

POLL = 0.5  # seconds between looks at how far the streams are


def run_apart(
    job: Callable[[Path, str], None], results: Results, contenders: Sequence[Contender], jobs: int, progress: bool
) -> None:
    """`job(directory, label)` for every contender, `jobs` of them at a time.

    An interrupt ends all of them; what they recorded stays. Raises what a job raised, once the others are done.
    """
    threads = max(1, torch.get_num_threads() // jobs)
    folders = [results.run(contender) for contender in contenders]
    with (
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (threads,)) as pool,
        tqdm(total=len(contenders), unit="method", desc="methods", disable=not progress) as bar,
    ):
        left: set[Future[None]] = {pool.submit(job, results.path, contender.label) for contender in contenders}
        futures = list(left)
        try:
            while left:
                done, left = wait(left, timeout=POLL)
                bar.set_postfix(batches=sum(_lines(folder.path / "stream.jsonl") for folder in folders))
                bar.update(len(done))
        except KeyboardInterrupt:
            _end(pool)
            raise
    for future in futures:
        future.result()


def _end(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):  # there is no public way before Python 3.14
        process.terminate()
    pool.shutdown(wait=True, cancel_futures=True)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
