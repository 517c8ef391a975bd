"""Protocols: in which order edits are made, and when the model is asked what they did.

    sequential   edits pile up, `size` at a time; everything is asked at chosen moments of the stream and at its end
    batch        each `size` edits change the model as it came, are asked about, and are undone
    single       batch, one edit at a time; what no edit is about is not asked

A run that was interrupted goes on from its own record. Written against the Editor; no protocol knows a method.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from errata.editor import Editor
from errata.edits import Edit
from errata.evaluate.evidence import Answer, Evidence
from errata.evaluate.gauge import Gauge, figures
from errata.evaluate.grading import exact
from errata.evaluate.recipe import Contender
from errata.evaluate.results import Run


class Protocol(ABC):
    """One contender's way through a stream of edits. `go` runs it, or what is left of it, to its end."""

    def __init__(self, gauge: Gauge, contender: Contender, run: Run, *, progress: bool) -> None:
        self.gauge, self.contender, self.run = gauge, contender, run
        self.recipe, self.edits = gauge.recipe, list(gauge.setting.edits)
        self.lines = run.stream()
        self.batches = [self.edits[at : at + self.size] for at in range(0, len(self.edits), self.size)]
        self.asking = f"{contender.label}: asking" if progress else None
        done = sum(len(line["ids"]) for line in self.lines)
        self.bar = tqdm(
            total=len(self.edits), initial=done, unit="edit", desc=contender.label, disable=not progress
        )

    @property
    def size(self) -> int:
        return self.recipe.size

    @property
    def chat(self) -> bool | None:
        """Whether the editor reads plain prompts as user messages; None: as its model suggests."""
        return False if self.recipe.raw else None

    def go(self) -> None:
        with self.bar:
            self.walk()
        self.run.finish({"edit_seconds": [line.pop("seconds") for line in self.lines]})

    @abstractmethod
    def walk(self) -> None:
        """Every batch that has no line yet."""

    def apply(self, editor: Editor, batch: Sequence[Edit]) -> dict[str, Any]:
        """Make a batch of edits; what became of them is a line of the stream."""
        new = [edit for edit in batch if edit.id not in editor.state.edits]
        right = self._right_already(new) if self.recipe.errors_only else []
        todo = [edit for edit in new if edit.id not in right]
        watched: dict[str, float] = {}
        if self.recipe.monitor and not self.lines:
            watched["perplexity_before"] = self.gauge.perplexity()
        started = time.perf_counter()
        if todo:
            editor.edit(todo, self.contender.method, **self.contender.options)
        seconds = time.perf_counter() - started
        told = {str(edit.id): editor.state.edits[str(edit.id)] for edit in batch if edit.id not in right}
        line = {
            "ids": [str(edit.id) for edit in batch], "right": right,
            "failed": {id: edit.reason for id, edit in told.items() if edit.status == "failed"},
            "keys": sum(int(patch.describe().get("keys", 0)) for patch in editor.patches),
            "bytes": sum(patch.size for patch in editor.patches), "seconds": seconds,
        }  # fmt: skip
        if self.recipe.monitor and len(self.lines) % self.recipe.monitor == 0:
            watched["perplexity"] = self.gauge.perplexity()
        return line | watched

    def record(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        self.run.append(line)
        self.bar.set_postfix(failed=sum(len(line["failed"]) for line in self.lines))
        self.bar.update(len(line["ids"]))

    def _right_already(self, edits: Sequence[Edit]) -> list[str]:
        said = self.gauge.model.generate([edit.prompt for edit in edits], max_new_tokens=self.recipe.max_new_tokens)
        return [str(edit.id) for edit, answer in zip(edits, said, strict=True) if exact(answer, edit.target)]


class Sequential(Protocol):
    """Edits pile up on one sheet, which is what an interrupted run goes on from."""

    def walk(self) -> None:
        with Editor.open(self.run.sheet, model=self.gauge.model, chat=self.chat) as editor:
            count = sum(len(line["ids"]) for line in self.lines)
            self.look(count)
            for batch in self.batches[len(self.lines) :]:
                self.record(self.apply(editor, batch))
                count += len(batch)
                self.look(count)

    def look(self, count: int) -> None:
        """Measure, if this is a moment to and it was not done before."""
        measured = self.run.figures()
        if count not in self._moments() or any(row["edits"] == count for row in measured):
            return
        ids, latest = self._asked_about(count), self.lines[-1]["ids"]
        evidence = self.gauge.evidence(count, ids, latest, progress=self.asking)
        self.run.write_answers(count, [answer.to_json() for answer in evidence.answers])
        self.run.write("figures.json", [*measured, figures(evidence, self.recipe.metrics)])

    def _moments(self) -> list[int]:
        """Moments at which a batch ends: the first end at or after each wanted one."""
        total = len(self.edits)
        return [min(-(-moment // self.size) * self.size, total) for moment in self.recipe.moments(total)]

    def _asked_about(self, count: int) -> list[str]:
        """Edits so far, or a sample of them that has the latest batch in it; all at the end."""
        ids = [str(edit.id) for edit in self.edits[:count]]
        sample = self.recipe.sample
        if count == len(self.edits) or not sample or count <= sample:
            return ids
        latest = set(self.lines[-1]["ids"])
        drawn = random.Random(self.recipe.seed + count).sample(ids, sample)
        return [id for id in ids if id in {*drawn, *latest}]


class Batch(Protocol):
    """Every batch edits the model as it came. What was said about it stands in a line beside the stream's."""

    def walk(self) -> None:
        said = self.run.pending()[: len(self.lines)]
        with Editor(self.gauge.model, chat=self.chat) as editor:
            for batch in self.batches[len(self.lines) :]:
                line = self.apply(editor, batch)
                answers = self.gauge.answers(line["ids"], upstream=self._upstream, progress=self.asking)
                editor.undo(*(id for id in line["ids"] if id not in line["right"]))
                said.append([answer.to_json() for answer in answers])
                self.run.append_pending(said[-1], len(said) - 1)
                self.record(line)
        answers = [Answer.from_json(row) for rows in said for row in rows]
        count = len(self.edits)
        self.run.write_answers(count, [answer.to_json() for answer in answers])
        self.run.write("figures.json", [figures(Evidence(self.size, answers), self.recipe.metrics)])

    @property
    def _upstream(self) -> bool:
        return True


class Single(Batch):
    """One edit at a time."""

    @property
    def size(self) -> int:
        return 1

    @property
    def _upstream(self) -> bool:
        return False


PROTOCOLS: dict[str, type[Protocol]] = {"single": Single, "batch": Batch, "sequential": Sequential}
