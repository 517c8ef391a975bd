"""How the questions of downstream tasks were graded, and the figures of that. Plain data; knows no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from errata.evaluate.figures import Figure, mean, share


@dataclass(frozen=True, slots=True)
class Graded:
    """One question of a task.

    Attributes:
        task: as it was asked for: "blimp".
        item: which question of the task.
        grade: 1 for a right answer, 0 for a wrong one, or what the task gives between them.
        before: the same of the model without edits; None if it was not asked.
    """

    task: str
    item: str
    grade: float
    before: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; `Graded(**values)` reads them back."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def figures(rows: Sequence[Graded]) -> Mapping[str, Figure | None]:
    """Accuracy by task, and over all questions under the empty name.

    Where the unedited model was asked too, "before" is its accuracy and "change" the mean of the paired differences;
    of a task they are "blimp.before" and "blimp.change".
    """
    by_task = {"": rows} | {row.task: [other for other in rows if other.task == row.task] for row in rows}
    return {_name(task, part): figure for task, some in by_task.items() for part, figure in _parts(some).items()}


def _parts(rows: Iterable[Graded]) -> dict[str, Figure | None]:
    now = [((row.task, row.item), row.grade) for row in rows]
    before = [((row.task, row.item), row.before) for row in rows if row.before is not None]
    change = [((row.task, row.item), row.grade - row.before) for row in rows if row.before is not None]
    return {"": share(now), "before": share(before), "change": mean(change)}


def _name(*parts: str) -> str:
    return ".".join(part for part in parts if part)
