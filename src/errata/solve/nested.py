"""Work that is the same in balls of several sizes: done once where a study tries them one after another.

Knows sizes and names of work; what the work is, its callers say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Shared:
    """Sizes of the balls, and what was done for the first of them, by name."""

    sizes: tuple[float, ...]
    done: dict[str, Any] = field(default_factory=dict)


_SHARED: ContextVar[_Shared | None] = ContextVar("shared", default=None)


@contextmanager
def nested(sizes: Sequence[float]) -> Iterator[None]:
    """Inside, calls that differ in nothing but which of these sizes their ball has share what does not depend on it."""
    token = _SHARED.set(_Shared(tuple(sizes)))
    try:
        yield
    finally:
        _SHARED.reset(token)


def sizes() -> tuple[float, ...]:
    """Of the balls that share work now; none outside of `nested`."""
    shared = _SHARED.get()
    return shared.sizes if shared else ()


def once(name: str, make: Callable[[], T]) -> T:
    """What `make` gives; inside `nested` what it gave when it was first called under this name.

    `name` says all that it depends on. Callers leave the result as it is.
    """
    shared = _SHARED.get()
    if shared is None:
        return make()
    if name not in shared.done:
        shared.done[name] = make()
    return shared.done[name]
