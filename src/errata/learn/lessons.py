"""What an editor learns from: an edit, the rephrasings it must carry over to, and what it must leave alone.

Knows edits and their division into training and validation; knows no model and no method.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from errata.edits import Edit, Probe
from errata.errors import BadConfig

LEAST = 8
"""Fewer lessons teach nothing that could be told from chance."""
_SHARE = 0.1  # of the subjects, kept for validation
_MOST = 100  # lessons validated on: more cost time and tell little more


@dataclass(frozen=True, slots=True)
class Lesson:
    """One training sample.

    Attributes:
        edit: what is asked and what must be answered from then on.
        outer: prompts and targets by which an editor is judged after the edit: its rephrasings.
        locality: questions whose answers must stay, with the answer where it is known.
    """

    edit: Edit
    outer: tuple[tuple[str, str], ...]
    locality: tuple[Probe, ...]

    @property
    def about(self) -> str:
        """Lessons about the same thing share this: they are never on both sides of a division, or in one batch."""
        return self.edit.subject or self.edit.prompt


@dataclass(frozen=True)
class Lessons:
    """Lessons to train on and others to validate on, about other subjects where they were divided here.

    Attributes:
        training: at least `LEAST`.
        validation: at least one.
        seed: draws the order of training.
    """

    training: tuple[Lesson, ...]
    validation: tuple[Lesson, ...]
    seed: int

    def batch(self, number: int, size: int) -> list[Lesson]:
        """Batch `number` (from 0) of at most `size` lessons, no two about the same: the same at every call.

        Every pass over the lessons is in another order.
        """
        n = len(self.training)
        places = [_order(n, self.seed, index // n)[index % n] for index in range(number * size, (number + 1) * size)]
        chosen = {lesson.about: lesson for lesson in (self.training[place] for place in places)}
        return list(chosen.values())

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that is learned from: other lessons have another one."""
        sides = [[_told(lesson) for lesson in side] for side in (self.training, self.validation)]
        return hashlib.sha256(json.dumps([*sides, self.seed], ensure_ascii=False).encode()).hexdigest()


def lessons(edits: Sequence[Edit], *, seed: int, validation: Sequence[Edit] | None = None) -> Lessons:
    """The lessons that edits with rephrases and locality probes make; other edits are left out.

    Without edits for `validation` a tenth of the subjects, drawn by `seed`, is kept for it.

    Raises:
        BadConfig: too few edits have rephrases, or locality probes; the line says how many are needed.
    """
    usable = _usable(edits, "training", LEAST if validation is not None else LEAST + 2)
    if validation is not None:
        return Lessons(tuple(usable), tuple(_usable(validation, "validation", 1)[:_MOST]), seed)
    subjects = sorted({lesson.about for lesson in usable})
    if len(subjects) < 2:
        raise BadConfig("all the edits are about one subject; add others, or give some with --validation")
    random.Random(f"validation {seed}").shuffle(subjects)
    kept = set(subjects[: max(1, round(_SHARE * len(subjects)))])
    apart = [lesson for lesson in usable if lesson.about in kept]
    return Lessons(tuple(lesson for lesson in usable if lesson.about not in kept), tuple(apart[:_MOST]), seed)


def _usable(edits: Sequence[Edit], what: str, least: int) -> list[Lesson]:
    usable = [_lesson(edit) for edit in edits if edit.rephrases and edit.locality]
    if len(usable) >= least:
        return usable
    counts = {
        "rephrases": sum(bool(edit.rephrases) for edit in edits),
        "locality probes": sum(bool(edit.locality) for edit in edits),
        "rephrases and locality probes": len(usable),
    }
    lacking = next(name for name, count in counts.items() if count < least)
    raise BadConfig(
        f"{counts[lacking]} of {len(edits)} edits for {what} have {lacking}, and at least {least} are needed; add them "
        "to the file, or use a data set that has some (`errata datasets`)"
    )


def _lesson(edit: Edit) -> Lesson:
    return Lesson(edit, tuple((rephrase, edit.target) for rephrase in edit.rephrases), edit.locality)


def _told(lesson: Lesson) -> list[object]:
    return [lesson.edit.to_json(), lesson.outer, [probe.to_json() for probe in lesson.locality]]


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> list[int]:
    """The order of one pass over n lessons."""
    order = list(range(n))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return order
