"""A directory of results: the recipe that made it, what every run said to every prompt, and the figures.

    recipe.yaml  environment.json  setting.json      what was run, where, on which data and model
    before.jsonl.gz                                  what the unedited model says to every question
    runs/LABEL/stream.jsonl                          batch by batch: what was edited, what failed, seconds
    runs/LABEL/answers-000100.jsonl.gz               after 100 edits: every question, answer and score
    runs/LABEL/figures.json                          figures at every checkpoint; no times, so that runs compare equal
    runs/LABEL/timings.json
    editors/LABEL/                                   what a learned method was trained to before its run

Whatever stands here under its name is whole. Knows files; knows no model and no metric.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from errata.durable import write_atomic
from errata.errors import BadConfig
from errata.evaluate.recipe import Contender, Recipe


class Run:
    """The folder of one contender's results."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def sheet(self) -> Path:
        """The edits themselves, kept while the run goes on."""
        return self.path / "sheet"

    @property
    def finished(self) -> bool:
        return (self.path / "timings.json").exists()

    def stream(self) -> list[dict[str, Any]]:
        """The batches so far: what was edited, what was right already, what failed, keys, bytes and seconds."""
        return whole_lines(self.path / "stream.jsonl")

    def append(self, batch: Mapping[str, Any]) -> None:
        _append(self._new("stream.jsonl"), batch)

    def pending(self) -> list[list[dict[str, Any]]]:
        """Answers by batch, of a run that asks after every batch."""
        said = {row["step"]: row["answers"] for row in whole_lines(self.path / "pending.jsonl")}
        return [said[step] for step in sorted(said)]

    def append_pending(self, answers: Sequence[Mapping[str, Any]], step: int) -> None:
        _append(self._new("pending.jsonl"), {"step": step, "answers": list(answers)})

    def problem(self) -> str | None:
        """Why the method could not be run, if it could not."""
        path = self.path / "problem.txt"
        return path.read_text(encoding="utf-8").strip() if path.exists() and not self.finished else None

    def note_problem(self, text: str) -> None:
        write_atomic(self._new("problem.txt"), f"{text}\n".encode())

    def answers(self, edits: int) -> list[dict[str, Any]] | None:
        """What was said after so many edits, if that was measured."""
        return read_lines(self.path / f"answers-{edits:06d}.jsonl.gz")

    def write_answers(self, edits: int, rows: Iterable[Mapping[str, Any]]) -> None:
        write_lines(self._new(f"answers-{edits:06d}.jsonl.gz"), rows)

    def figures(self) -> list[dict[str, Any]]:
        """Figures by checkpoint, as measured so far."""
        path = self.path / "figures.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def write(self, name: str, value: Any) -> None:
        write_atomic(self._new(name), _pretty(value))

    def read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def _new(self, name: str) -> Path:
        """Where a file of this run goes; the folder is made now, so that reading makes none."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path / name

    def finish(self, timings: Mapping[str, Any]) -> None:
        """The run is complete: from here on it is not run again."""
        self.write("timings.json", timings)
        shutil.rmtree(self.sheet, ignore_errors=True)
        for leftover in ("pending.jsonl", "problem.txt"):
            (self.path / leftover).unlink(missing_ok=True)


class Results:
    """A directory of results."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.recipe = path, recipe

    @classmethod
    def open(cls, path: str | Path) -> Results:
        """Results for reading. Raises: BadConfig."""
        path = Path(path)
        if not (values := read_recipe(path)):
            raise BadConfig(f"there are no results at {path}; name the directory that `errata bench --out` wrote")
        return cls(path, Recipe.of(values))

    @classmethod
    def start(cls, path: str | Path, recipe: Recipe, *, resume: bool) -> Results:
        """Results for writing: a new directory, or with `resume` one of the same settings.

        A resumed directory may gain methods. Raises: BadConfig, naming the settings that differ.
        """
        path = Path(path)
        if begun(path, resume=resume):
            recipe = merged(path, cls.open(path).recipe, recipe)
        write_recipe(path, recipe.to_json())
        return cls(path, recipe)

    def run(self, contender: Contender) -> Run:
        return Run(self.path / "runs" / contender.label)

    def problems(self) -> dict[str, str]:
        """Why methods could not be run, by label."""
        found = {contender.label: self.run(contender).problem() for contender in self.recipe.methods}
        return {label: text for label, text in found.items() if text is not None}

    def bind(self, setting: Mapping[str, Any]) -> None:
        """Record which data and model these results are of. Raises: BadConfig where they are of others."""
        path = self.path / "setting.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name in setting if found.get(name) != setting[name]]
            if changed:
                raise BadConfig(f"{self.path} was made with another {' and '.join(changed)}; name a new directory")
        write_atomic(path, _pretty(setting))

    def note(self, environment: Mapping[str, Any]) -> None:
        """Record versions and machine: what figures may depend on beyond the recipe."""
        write_atomic(self.path / "environment.json", _pretty(environment))


def begun(path: Path, *, resume: bool) -> bool:
    """Whether a directory has results to go on with, or is one to begin in. Raises: BadConfig (it is neither)."""
    if (path / "recipe.yaml").is_file():
        if not resume:
            raise BadConfig(f"{path} has results already; add --resume to go on, or name another directory")
        return True
    if path.exists() and any(path.iterdir()):
        raise BadConfig(f"{path} is not empty and holds no results; name a new directory")
    return False


def read_recipe(path: Path) -> dict[str, Any]:
    """What was run in a directory, as plain values; empty where nothing was."""
    file = path / "recipe.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}


def write_recipe(path: Path, values: Mapping[str, Any]) -> None:
    """Record what is run in a directory, which is made if it is not there."""
    path.mkdir(parents=True, exist_ok=True)
    write_atomic(path / "recipe.yaml", yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True).encode())


def merged(path: Path, found: Recipe, wanted: Recipe) -> Recipe:
    """The recipe of the results at `path` with the wanted one's further methods. Raises: BadConfig (other settings)."""
    _same_settings(path, found, wanted)
    return _joined(found, wanted)


def read_lines(path: Path) -> list[dict[str, Any]] | None:
    """The rows of a gzipped JSON Lines file; None where there is none."""
    if not path.exists():
        return None
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows as gzipped JSON Lines, the same bytes for the same rows."""
    content = "".join(_line(row) for row in rows)
    write_atomic(path, gzip.compress(content.encode(), mtime=0))


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a growing JSON Lines file; a last line that an interrupt cut off is taken out of it."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        write_atomic(path, whole)
    return [json.loads(line) for line in whole.splitlines()]


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _same_settings(path: Path, found: Recipe, wanted: Recipe) -> None:
    old, new = found.to_json(), wanted.to_json()
    differ = [name for name in old if name != "methods" and old[name] != new[name]]
    changed = [f"{name} was {old[name]!r}, not {new[name]!r}" for name in differ]
    known = {contender.label: contender for contender in found.methods}
    changed += [
        f"{contender.label} had other options" for contender in wanted.methods
        if contender.label in known and known[contender.label] != contender
    ]  # fmt: skip
    if changed:
        raise BadConfig(f"{path} has results of other settings ({'; '.join(changed)}); name another directory")


def _joined(found: Recipe, wanted: Recipe) -> Recipe:
    labels = {contender.label for contender in found.methods}
    methods = [*found.to_json()["methods"], *(c.to_json() for c in wanted.methods if c.label not in labels)]
    return Recipe.of({**found.to_json(), "methods": methods})
