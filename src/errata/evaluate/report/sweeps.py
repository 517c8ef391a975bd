"""Sweeps: contenders of one method whose whole configs differ in one numeric option.

Knows contenders and methods' configs, defaults included; knows no figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from errata.errors import ErrataError
from errata.evaluate.report.page import Entrant, Sweep


def sweeps(entrants: Sequence[Entrant]) -> Iterator[Sweep]:
    """Every sweep of two values or more. A method that is not installed any more has none."""
    for method in dict.fromkeys(entrant.method for entrant in entrants):
        rivals = [entrant for entrant in entrants if entrant.method == method]
        if all(rival.options == rivals[0].options for rival in rivals):
            continue
        try:
            configs = {entrant.label: _config(entrant) for entrant in rivals}
        except ErrataError:
            continue
        yield from _of(method, configs)


def _of(method: str, configs: Mapping[str, Mapping[str, Any]]) -> Iterator[Sweep]:
    for option in next(iter(configs.values())):
        if option == "seed":  # its values have no order
            continue
        alike: dict[str, dict[float, str]] = {}
        for label, config in configs.items():
            if _numeric(config[option]):
                rest = json.dumps({**config, option: None}, sort_keys=True, default=str)
                alike.setdefault(rest, {}).setdefault(float(config[option]), label)
        for points in alike.values():
            if len(points) > 1:
                yield Sweep(method, option, tuple(sorted(points.items())))


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _config(entrant: Entrant) -> dict[str, Any]:
    from errata.methods._base import create  # loads torch, which no other report needs

    return create(entrant.method, entrant.options).config.to_json()
