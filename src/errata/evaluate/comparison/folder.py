"""A directory of a comparison: what is compared, the results of each part, and why parts could not be run.

    recipe.yaml       the parts, in order
    PART/             the results of a part, as `errata.evaluate.results` has them
    problems.json     why parts could not be run, by name

Knows files; knows no model.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from errata.durable import write_atomic
from errata.errors import BadConfig
from errata.evaluate.comparison.plan import STUDY, Comparison, Part
from errata.evaluate.results import Results, begun, merged, read_recipe, write_recipe


class Folder:
    """A directory with a comparison's plan and the results of its parts."""

    def __init__(self, path: Path, plan: Comparison) -> None:
        self.path, self.plan = path, plan

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """A comparison for reading. Raises: BadConfig."""
        path = Path(path)
        if not is_comparison(path):
            raise BadConfig(f"there is no comparison at {path}; name the directory that `errata bench --out` wrote")
        return cls(path, Comparison.of(read_recipe(path)))

    @classmethod
    def start(cls, path: str | Path, plan: Comparison, *, resume: bool) -> Folder:
        """A new directory, or with `resume` one of the same settings.

        A resumed one may gain parts, and its parts methods. Raises: BadConfig, naming the settings that differ.
        """
        path = Path(path)
        if begun(path, resume=resume):
            plan = _joined(path, cls.open(path).plan, plan)
        write_recipe(path, plan.to_json())
        return cls(path, plan)

    def results(self, part: Part) -> Results:
        """Where the results of a part are, begun or not."""
        return Results(self.path / part.name, part.recipe)

    def problems(self) -> dict[str, str]:
        """Why parts, or methods in them, could not be run: by part, or by part and label."""
        found = self.refused()
        for part in self.plan.parts:
            found |= {f"{part.name}: {label}": text for label, text in self.results(part).problems().items()}
        return found

    def refused(self) -> dict[str, str]:
        """Why whole parts could not be run, by name."""
        path = self.path / "problems.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def note_problem(self, part: Part, text: str | None) -> None:
        """Record why a part cannot be run, or with None that it can."""
        left = {name: told for name, told in self.refused().items() if name != part.name}
        content = left | ({part.name: text} if text else {})
        write_atomic(self.path / "problems.json", (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def is_comparison(path: str | Path) -> bool:
    """Whether a directory holds a comparison."""
    return read_recipe(Path(path)).get("study") == STUDY


def _joined(path: Path, found: Comparison, wanted: Comparison) -> Comparison:
    """The comparison that is there, with the wanted one's further parts and methods."""
    parts = {part.name: part for part in found.parts}
    for part in wanted.parts:
        old = parts.get(part.name)
        parts[part.name] = Part(part.name, merged(path / part.name, old.recipe, part.recipe)) if old else part
    return dataclasses.replace(found, parts=tuple(parts.values()))
