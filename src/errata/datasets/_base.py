"""What a data set is, of edits or of labelled examples, and the registry that finds them.

Knows files, examples and licences; knows no data set in particular. How an example is scored is known to
`errata.evaluate`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from errata.datasets import _hub
from errata.edit_files import edits_of
from errata.edits import Edit, Probe
from errata.errors import BadEdit
from errata.fields import Fields, kind
from errata.formats import Record, located, read_records
from errata.registry import Registry

DATA = Path(__file__).parent / "data"

DATASETS: Registry[Callable[[], Dataset]] = Registry("data set", "errata.datasets", "errata.datasets")
register_dataset = DATASETS.register


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled example: which of these texts belongs to this prompt?

    Attributes:
        prompt: the question, claim or beginning; "" where each choice is a whole text, as in minimal pairs.
        choices: the names of the classes, or the texts that may follow; at least one.
        gold: index of the right choice; None where none is right, as with stereotypes.
        labels: what kind of text each choice is, where that is not its name ("stereotype", …); else empty.
        subject: whom the prompt is about, as written there.
        kind: by which scores are told apart: a paradigm, a field, a split.
        id: the record's own name.

    Raises:
        BadEdit: there is no choice, gold names none of them, or the labels are not one a choice.
    """

    prompt: str
    choices: tuple[str, ...]
    gold: int | None = None
    labels: tuple[str, ...] = ()
    subject: str | None = None
    kind: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        n = len(self.choices)
        if n == 0 or not all(choice.strip() for choice in self.choices):
            raise BadEdit("an example has no choices or an empty one; give the texts to choose from")
        if self.gold is not None and not 0 <= self.gold < n:
            raise BadEdit(f"the gold answer is choice {self.gold} of {n}; choices count from 0")
        if self.labels and len(self.labels) != n:
            raise BadEdit(f"an example has {len(self.labels)} labels for {n} choices; give one for each")


@dataclass(frozen=True)
class Dataset:
    """Records of edits, with what a reader should know before quoting a figure from them.

    Attributes:
        name: what it is called here.
        description: one line on what a record holds.
        licence: SPDX identifier; "unknown" for the user's own file, "none stated" where the publisher gave none.
        source: repository and path, or paper, that published it.
        records: how many records there are.
        path: the file; None where the licence forbids to ship it and the user must point to a copy (`at`).
        format: a format of `errata.edit_files.read_edits`.
        hub: the records' name on the Hugging Face hub, "owner/name[/config][#split]", where they lie there.
        beside: name of the data set whose questions none of these edits is about, if there is one.
        mapping: fields that the records name otherwise, as in `errata.edit_files.read_edits`.
    """

    name: str
    description: str
    licence: str
    source: str
    records: int
    path: Path | None
    format: str = "auto"
    hub: str | None = None
    beside: str | None = None
    mapping: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def holds(self) -> str:
        """What the records are: "edits", "examples", "edits, examples" or "facts"."""
        return "edits"

    def edits(self) -> list[Edit]:
        """The edits, one prompt never twice (see `errata.edit_files.read_edits`).

        Raises:
            BadEdit: a record is malformed, or the records are not in the package or hold no edits.
        """
        return edits_of(self._records(), self.format, self.mapping, source=str(self.path or self.hub))

    def rows(self) -> list[dict[str, Any]]:
        """The records as published, with the fields that an Edit or an Example has no place for.

        In the data sets of the package row i belongs to edit i.

        Raises:
            BadEdit: the records cannot be read or are not in the package.
        """
        return [record.value for record in self._records()]

    def examples(self) -> list[Example]:
        """The labelled examples. Raises BadEdit where the records hold none, or are malformed or missing."""
        raise BadEdit(f"data set '{self.name}' holds {self.holds} and no labelled examples; {_others('examples')}")

    def upstream(self) -> list[Probe]:
        """Questions that no edit here is about and that the model should go on answering; none by default."""
        return DATASETS.get(self.beside)().upstream() if self.beside else []

    @property
    def teaches(self) -> bool:
        """Whether there are edits to learn an editor from (see `training`)."""
        return type(self).training is not Dataset.training

    def training(self) -> list[Edit]:
        """Edits to learn an editor from, each with rephrases and with locality probes that have answers.

        They are kept apart, by subject, from what an editor is then tried on; every set that has some says from what.
        A case by itself each: two may ask about the same fact and want other answers.

        Raises:
            BadEdit: there are none, the message naming the data sets that have some; or the records cannot be read.
        """
        raise BadEdit(f"data set '{self.name}' has no edits to learn an editor from; {_who_has_training()}")

    def at(self, place: str | os.PathLike[str]) -> Dataset:
        """The same data set, read from the user's own copy: a path, or "hf:owner/name[/config][#split]".

        The records are counted when they are read, not now; `records` stays what was published.

        Raises:
            BadConfig: the hub name is malformed.
        """
        text = os.fspath(place)
        if text.startswith(_hub.PREFIX):
            return replace(self, path=None, hub=_hub.parse(text).name)
        return replace(self, path=Path(text), hub=None)

    def _records(self) -> list[Record]:
        if self.hub is not None:
            return _hub.records(_hub.parse(_hub.PREFIX + self.hub))
        return read_records(self._file())

    def _file(self) -> Path:
        if self.path is None:
            raise BadEdit(
                f"data set '{self.name}' is not in the package (licence: {self.licence}); get it from {self.source} "
                f"and write {self.name}=PATH, or get('{self.name}').at(path)"
            )
        return self.path


class OwnRecords(Dataset):
    """A user's own file, or records of the hub: what is in it is to be edited or, as well, to be learned from."""

    def training(self) -> list[Edit]:
        """Every edit: which to keep apart is for the user to know. Raises BadEdit as `edits` does."""
        return self.edits()


@dataclass(frozen=True)
class Task(Dataset):
    """Records that are labelled examples, each read by `read` from one published record.

    Attributes:
        read: the example of a record; raises BadEdit for a record of another shape.
    """

    read: Callable[[Fields], Example] = field(kw_only=True, repr=False)

    @property
    def holds(self) -> str:
        return "examples"

    def edits(self) -> list[Edit]:
        """None: an example asks for no change. Raises BadEdit, always."""
        raise BadEdit(f"data set '{self.name}' holds examples and no edits; {_others('edits')}")

    def examples(self) -> list[Example]:
        """The examples, one a record and in its order.

        Raises:
            BadEdit: a record is malformed, the message starting with its place; or there is no file.
        """
        return [read_example(record, self.read) for record in self._records()]


def read_example(record: Record, read: Callable[[Fields], Example]) -> Example:
    """The example of one record. Raises BadEdit with the record's place for one of another shape."""
    with located(record.place):
        if not isinstance(record.value, dict):
            raise BadEdit(f"a record is a JSON object, not {kind(record.value)}; check the file")
        return read(record.value)


def choice_of(answer: Any, choices: tuple[str, ...]) -> int:
    """The index of a published answer: an index, its digits, or the choice itself. Raises BadEdit for others."""
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    if isinstance(answer, str) and answer.isdecimal():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise BadEdit(f"the answer {answer!r} is none of {', '.join(choices)}; check the record")


def _who_has_training() -> str:
    found = [name for name in DATASETS.names() if DATASETS.get(name)().teaches]
    return f"{', '.join(found)} have some, and a file of your own may"


def _others(holds: str) -> str:
    return f"`errata datasets` says which hold {holds}"
