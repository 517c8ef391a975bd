"""A gate: conditions on figures, such as "locality>=0.99,drawdown<=0.001", that a run must meet.

Knows figures and the names of metrics; how the figures came about it does not ask.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from errata.errors import BadConfig, did_you_mean
from errata.evaluate.figures import Figure
from errata.evaluate.metrics._base import METRICS

COMPARISONS = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}
CONDITION = re.compile(r"\s*([a-zA-Z][\w.-]*)\s*(>=|<=|==|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Condition:
    """`name` (a metric, or "metric.part") compared by `sign` with `bound`."""

    name: str
    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        return COMPARISONS[self.sign](value, self.bound)

    def unfavourable(self, figure: Figure) -> float:
        """The end of the figure's interval that is farthest from meeting the condition."""
        if self.sign == "==":
            return max(figure.low, figure.high, key=lambda end: abs(end - self.bound))
        return figure.low if self.sign.startswith(">") else figure.high

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.bound:g}"


@dataclass(frozen=True)
class Verdict:
    """A condition, whether it is met, and why; `figure` is None where it could not be measured."""

    condition: Condition
    passed: bool
    figure: Figure | None
    reason: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}  {self.condition}  {self.reason}"

    def to_json(self) -> dict[str, Any]:
        return {
            "condition": str(self.condition), "passed": self.passed, "reason": self.reason,
            "figure": None if self.figure is None else self.figure.to_json(),
        }  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """Conditions that must all be met. With `strict` the unfavourable end of a figure's interval has to meet them."""

    conditions: tuple[Condition, ...]
    strict: bool = False

    @classmethod
    def parse(cls, text: str, *, strict: bool = False) -> Gate:
        """A gate from conditions between commas. Raises: BadConfig (malformed), UnknownName ("did you mean")."""
        return cls(tuple(_condition(part) for part in text.split(",")), strict)

    @property
    def metrics(self) -> list[str]:
        """The metrics it reads."""
        return list(dict.fromkeys(condition.name.partition(".")[0] for condition in self.conditions))

    def check(self, figures: Mapping[str, Figure]) -> list[Verdict]:
        """A verdict for each condition; a figure that is not there fails."""
        return [self._verdict(condition, figures) for condition in self.conditions]

    def _verdict(self, condition: Condition, figures: Mapping[str, Figure]) -> Verdict:
        figure = figures.get(condition.name)
        if figure is None:
            hint = did_you_mean(condition.name, figures)
            return Verdict(condition, False, None, f"was not measured: no question or text gave it.{hint}")
        value = condition.unfavourable(figure) if self.strict else figure.value
        what = f"the interval's end {value:.6g}" if self.strict else f"the value {value:.6g}"
        relation = "meets" if condition.holds(value) else "misses"
        return Verdict(condition, condition.holds(value), figure, f"{what} {relation} it (n={figure.n})")


def _condition(text: str) -> Condition:
    found = CONDITION.fullmatch(text)
    if found is None:
        raise BadConfig(
            f"'{text.strip()}' is no condition; write metric>=number, such as locality>=0.99 "
            "(also >, <=, <, ==), with commas between"
        )
    name, sign, bound = found.groups()
    METRICS.get(name.partition(".")[0])  # an unknown one is an error now, not after the model has run
    return Condition(name, sign, float(bound))
