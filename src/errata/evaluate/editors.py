"""The editor that a learned method needs in a benchmark: the one its options name, or one trained first.

It is trained on the data set's own training edits, which no edit of the stream may be among, and kept with the results
for every later run. Knows data sets and learned methods as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from errata import datasets
from errata.edits import Edit
from errata.errors import BadConfig
from errata.evaluate.recipe import Contender
from errata.methods._base import create
from errata.methods._learned import LearnedMethod
from errata.models import EditableModel


def equipped(
    contender: Contender, model: EditableModel, dataset: str, stream: Sequence[Edit], place: Path, *,
    chat: bool = False, progress: bool,
) -> Contender:  # fmt: skip
    """The contender with an editor to use; itself if it needs none or names one.

    `place` is the directory of an editor that is trained here. An interrupted training goes on from there. In `chat`
    it is trained on user messages.

    Raises: BadEdit (the data set has nothing to train on), BadConfig (some of it is in the stream, or training failed).
    """
    method = create(contender.method, contender.options)
    if not isinstance(method, LearnedMethod) or method.config.editor:
        return contender
    lessons = datasets.open(dataset).training()
    lessons = [edit.as_chat() for edit in lessons] if chat else lessons
    asked = {edit.prompt for edit in stream}
    if shared := sum(edit.prompt in asked for edit in lessons):
        raise BadConfig(
            f"{shared} of the {len(lessons)} training edits of '{dataset}' are in the stream too; train on others "
            f"(errata train --method {contender.method} ...) and name that editor, or bench a data set kept apart"
        )
    method.train(model, lessons, place, progress=progress)
    return replace(contender, options={**contender.options, "editor": str(place)})
