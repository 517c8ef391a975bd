"""Methods that learn an editor before they edit: training one, and opening, checking and using the trained one.

Knows the loop, the directory and the checks that they share. What is trained and how it edits is each method's own.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from errata.edits import Edit
from errata.errors import BadConfig
from errata.learn.checkpoint import same_work
from errata.learn.course import Course, Schedule, finish, train
from errata.learn.lessons import Lessons, lessons
from errata.learn.objective import with_answers
from errata.learn.trained import CARD, TENSORS, TrainedEditor, from_pretrained, read_card
from errata.methods._base import Fit, Method, MethodConfig, option
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.statistics.identity import original_fingerprint


@dataclass(frozen=True)
class LearnedConfig(MethodConfig):
    """Where the trained editor is, and how one is trained. Options of training may be left out when editing."""

    editor: str = option("", "directory or hub name of the trained editor; made by `errata train`")
    sha256: str = option("", "checksum of the editor's tensors: recorded with an edit, and compared if it is given")
    steps: int = option(1000, "training: most optimiser steps")
    batch: int = option(10, "training: edits made together in one batch")
    accumulate: int = option(1, "training: batches to a step")
    lr: float = option(1e-3, "training: learning rate of Adam")
    clip: float = option(100.0, "training: largest norm of the gradient of a step")
    decay_from: float = option(0.5, "training: share of the steps after which the learning rate falls to zero")
    every: int = option(100, "training: steps between validations")
    patience: int = option(10, "training: validations without a lower loss before it stops early")

    def schedule(self) -> Schedule:
        """The options that the training loop reads. Raises BadConfig."""
        names = [item.name for item in dataclasses.fields(Schedule)]
        return Schedule(**{name: getattr(self, name) for name in names})


class LearnedMethod(Method):
    """A method whose editor is trained once for a model, by `train`, and then used for any number of edits."""

    Config = LearnedConfig
    free: ClassVar[frozenset[str]] = frozenset({"editor", "sha256"})
    """Options that may differ from those the editor was trained with."""

    def __init__(self, config: MethodConfig | None = None) -> None:
        super().__init__(config)
        if self.config.editor and Path(self.config.editor).is_dir():
            # A sheet records the option, and may be opened from anywhere.
            place = str(Path(self.config.editor).resolve())
            self.config = dataclasses.replace(self.config, editor=place)

    @abstractmethod
    def course(self, model: EditableModel, lessons: Lessons) -> Course:
        """What is trained, ready to start. The model is restored by the caller. Raises BadConfig, BadModel."""

    @abstractmethod
    def apply(self, model: EditableModel, editor: TrainedEditor, edits: Sequence[Edit], previous: Patch | None) -> Fit:
        """`fit`, with the checked editor; `self.config` holds the options it was trained with."""

    def facts(self, course: Course) -> dict[str, Any]:
        """What else is worth knowing of a trained editor, as JSON: the matrices it edits, say."""
        return {}

    def lessons(self, edits: Sequence[Edit], validation: Sequence[Edit] | None = None) -> Lessons:
        """The edits as lessons. Raises BadConfig: too few have rephrases and locality probes."""
        return lessons(edits, seed=self.config.seed, validation=validation)

    def train(
        self,
        model: EditableModel,
        edits: Sequence[Edit],
        out: str | Path,
        *,
        validation: Sequence[Edit] | None = None,
        progress: bool = False,
    ) -> TrainedEditor:
        """Train an editor for `model` into the directory `out`; the model keeps its bits.

        An interrupted training goes on when it is called again; a finished one is returned.

        Raises:
            BadConfig: options out of range, too few lessons, `out` holds other work, or training diverged.
            BadModel: the model lacks what the method edits.
        """
        out, schedule = Path(out), self.config.schedule()
        taught = self.lessons(edits, validation)
        work = self._work(model, taught)
        if card := read_card(out):
            same_work(card["facts"]["work"], work, f"{out} holds a trained editor")
            return TrainedEditor.load(out)
        with model.preserved():
            taught = with_answers(model, taught)
            course = self.course(model, taught)
            outcome = train(
                course, taught, out, schedule, work=work, title=f"{self.name} for {model.name}", progress=progress
            )
        facts = {"work": work, **outcome.facts, **self.facts(course)}
        editor = TrainedEditor.of(model, self.name, self._trained_options(), outcome.tensors, facts)
        editor.save(out)
        finish(out)
        return editor

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        editor = self.opened(model)
        return self.trained_as(editor).apply(model, editor, edits, previous)

    def opened(self, model: EditableModel) -> TrainedEditor:
        """The editor that the options name, checked.

        Raises:
            BadConfig: none is named or there, it is another method's, was trained with other options, or is not the one
                that `sha256` says.
            BadPatch: it is damaged.
            WrongModel: it was trained for another model.
        """
        if not self.config.editor:
            raise BadConfig(
                f"'{self.name}' needs an editor trained for this model; make one with `errata train --model "
                f"{model.name} --method {self.name} --dataset DATA --out DIR`, then give --editor DIR"
            )
        editor = _opened(self.config.editor, _version(self.config.editor))
        editor.check(model, self.name)
        if self.config.sha256 not in ("", editor.sha256):
            raise BadConfig(
                f"the editor at {self.config.editor} is not the one that these edits were made with; put that one "
                "back, or undo all edits of the call"
            )
        self.config = dataclasses.replace(self.config, sha256=editor.sha256)  # what a sheet records
        return editor

    def trained_as(self, editor: TrainedEditor) -> LearnedMethod:
        """This method with the options that the editor was trained with; its own where they are free.

        Raises:
            BadConfig: an option was given another value.
        """
        own, default = self.config.to_json(), type(self.config)().to_json()
        for name, value in editor.options.items():
            if name not in own:
                raise BadConfig(f"the editor has an option '{name}' that this version lacks; update errata")
            if name not in self.free and own[name] not in (default[name], value):
                raise BadConfig(
                    f"the editor was trained with {name} {value}, not {own[name]}; leave the option out, or train "
                    "another editor"
                )
        merged = {name: value for name, value in editor.options.items() if name not in self.free}
        return type(self)(dataclasses.replace(self.config, **merged))

    def _trained_options(self) -> dict[str, Any]:
        return {name: value for name, value in self.config.to_json().items() if name not in self.free}

    def _work(self, model: EditableModel, taught: Lessons) -> dict[str, Any]:
        """What makes two trainings the same."""
        return {
            "method": self.name, "model": original_fingerprint(model), "training data": taught.digest,
            "options": self._trained_options(),
        }  # fmt: skip


def _version(place: str) -> tuple[int, ...]:
    """Changes when a file of the editor in a directory is written anew."""
    files = (Path(place) / name for name in (CARD, TENSORS))
    return tuple(file.stat().st_mtime_ns for file in files if file.is_file())


@lru_cache(maxsize=2)
def _opened(place: str, _version: tuple[int, ...]) -> TrainedEditor:
    """Edits made one at a time need not read the editor every time."""
    return from_pretrained(place)
