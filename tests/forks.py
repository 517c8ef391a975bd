"""Processes that need not load the libraries, which takes seconds of a processor: forked off one that has.

That one is `multiprocessing`'s server and not the tests' own process, whose threads a fork would not copy.
"""

from __future__ import annotations

import multiprocessing
import os
from functools import cache
from multiprocessing.context import ForkServerContext

LOADED = ("errata.evaluate.runner", "errata.methods._base", "errata.serve.api.app", "errata.serve.desk.worker")


@cache
def forks() -> ForkServerContext:
    """As `multiprocessing.get_context`: of all tests of this process."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # what is forked has one thread
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context
