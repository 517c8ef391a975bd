"""A directory of a study: its plan, what the unedited model does, and a line for every finished run.

    recipe.yaml  environment.json  setting.json     what was run, where, on which data and model
    before.json                                     values of the unedited model, by task, half and part
    runs.jsonl                                      a line a run: what was learned and what it came to

Knows files; knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errata.datasets._canonical import Split
from errata.durable import write_atomic
from errata.errors import BadConfig
from errata.evaluate.canonical.plan import STUDY, Plan
from errata.evaluate.results import begun, read_recipe, whole_lines, write_recipe

UNBOUNDED = "unbounded"  # the label of the edit without a ball


@dataclass(frozen=True)
class Cell:
    """Which run: of which entrant's set of options, on which half of which task, in which ball, by which seed."""

    label: str
    config: int
    task: str
    split: Split
    ball: float | None
    seed: int


class Folder:
    """A directory with a study's plan and what was measured of it."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """A study for reading. Raises: BadConfig."""
        path = Path(path)
        if not is_study(path):
            raise BadConfig(f"there is no study at {path}; name the directory that `errata bench --out` wrote")
        return cls(path, Plan.of(read_recipe(path)))

    @classmethod
    def start(cls, path: str | Path, plan: Plan, *, resume: bool) -> Folder:
        """A new directory, or with `resume` one of the same plan; a resumed one may gain methods. Raises: BadConfig."""
        path = Path(path)
        if begun(path, resume=resume):
            plan = _joined(path, cls.open(path).plan, plan)
        write_recipe(path, plan.to_json())
        return cls(path, plan)

    def bind(self, setting: Mapping[str, Any]) -> None:
        """Record which data and model these results are of. Raises: BadConfig where they are of others."""
        found = self.read("setting.json") or setting
        changed = [name for name in setting if found.get(name) != setting[name]]
        if changed:
            raise BadConfig(f"{self.path} was made with another {' and '.join(changed)}; name a new directory")
        self.write("setting.json", setting)

    def runs(self) -> dict[Cell, dict[str, Any]]:
        """What is finished."""
        rows = whole_lines(self.path / "runs.jsonl")
        return {Cell(**row["cell"]): row for row in rows}

    def append(self, cell: Cell, found: Mapping[str, Any]) -> None:
        with (self.path / "runs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"cell": asdict(cell), **found}, ensure_ascii=False) + "\n")

    def read(self, name: str) -> Any:
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def write(self, name: str, value: Any) -> None:
        write_atomic(self.path / name, (json.dumps(value, ensure_ascii=False) + "\n").encode())


def is_study(path: str | Path) -> bool:
    """Whether a directory holds the results of such a study."""
    return read_recipe(Path(path)).get("study") == STUDY


def _joined(path: Path, old: Plan, new: Plan) -> Plan:
    """The old plan with the new one's further methods."""
    was, now = old.to_json(), new.to_json()
    known = {entrant.label: entrant for entrant in old.methods}
    changed = [name for name in {**was, **now} if name != "methods" and was.get(name) != now.get(name)]
    changed += [entrant.label for entrant in new.methods if known.get(entrant.label, entrant) != entrant]
    if changed:
        raise BadConfig(f"{path} has results of other settings ({', '.join(changed)}); name another directory")
    return Plan.of(was | {"methods": [*was["methods"], *(e.to_json() for e in new.methods if e.label not in known)]})
