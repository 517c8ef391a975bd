"""What was computed or read not long ago, kept in memory within a budget: the next edit asks for the same again.

Knows keys and sizes. Values are told apart by what they are made of, so nothing here belongs to one model or editor.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

V = TypeVar("V")

_HELD: OrderedDict[tuple[Any, ...], tuple[Any, int]] = OrderedDict()


def remember(key: tuple[Any, ...], make: Callable[[], V], size: Callable[[V], int]) -> V:
    """The value of `key`, made if it is not held; `size` says how many bytes it takes.

    `key` holds everything that determines the value.
    """
    held = find(key)
    return hold(key, value := make(), size(value)) if held is None else held


def find(key: tuple[Any, ...]) -> Any:
    """The value held under `key`, or None."""
    if key not in _HELD:
        return None
    _HELD.move_to_end(key)
    return _HELD[key][0]


def hold(key: tuple[Any, ...], value: V, size: int) -> V:
    """Hold a value of `size` bytes. When all together exceed the budget, the longest unused go."""
    _HELD[key] = (value, size)
    while len(_HELD) > 1 and sum(weight for _, weight in _HELD.values()) > budget():
        _HELD.popitem(last=False)
    return value


def forget() -> None:
    """Let go of everything."""
    _HELD.clear()


def budget() -> int:
    """Bytes that may be held: a quarter of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # not every system says
        return 4 << 30
