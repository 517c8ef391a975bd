"""Canonical examples as published: six folders of files (Hewitt et al., 2024, arXiv:2402.06155).

Knows how the folders are laid out. The data state no licence and are never in the package: `at` takes the user's own
copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from errata import fields
from errata.datasets._base import Example, read_example
from errata.datasets._canonical import Canonical, Part, Split
from errata.errors import BadEdit
from errata.fields import Fields
from errata.formats import Record, read_records

# the texts of stereoset begin with GPT-2's end of text, an artefact of their making
ARTEFACT = "<|endoftext|>"


class Files(NamedTuple):
    """What a folder's files are called, before "-val.jsonl" and "-test.jsonl"."""

    train: str
    eval: str
    hard_negatives: str
    text: str


@dataclass(frozen=True)
class Published(Canonical):
    """One of the six tasks; its path is the published folder: `data/`, the task's own, or its `split/`.

    Attributes:
        files: the names of the folder's files.
        about: the field that names whom a record is about; every task with the goal "raise" has one.
    """

    files: Files = field(kw_only=True)
    about: str | None = field(default=None, kw_only=True)

    def rows(self, part: Part = "eval", split: Split = "test") -> list[dict[str, Any]]:
        """The published records of one file. Raises BadEdit when there is no such file or it is malformed."""
        return [record.value for record in self._part(part, split)]

    def grouped(self, part: Part = "eval", split: Split = "test") -> list[tuple[str, Example]]:
        """The examples of one file. Raises BadEdit when there is no such file or a record is malformed."""
        records = self._part(part, split)
        read = [read_example(record, lambda value: self._example(part, value)) for record in records]
        about = [str(record.value.get(self.about, "")) if self.about else "" for record in records]
        return list(zip(about, read, strict=True))

    def _example(self, part: Part, record: Fields) -> Example:
        if part == "text":
            return Example("", (fields.text(record, "text").removeprefix(ARTEFACT).strip(),), 0, kind=part)
        names = ("suffix",) if part == "hard_negatives" or "suffix" in record else ("suffix1", "suffix2")
        asked = part == "hard_negatives" or self.goal in ("raise", "contrast")
        prompt = fields.text(record, "prefix").strip()
        about = fields.text(record, self.about) if self.about else ""
        return Example(
            prompt=prompt,
            choices=tuple(fields.text(record, name).strip() for name in names),
            gold=0 if asked else None,
            subject=about if about and about in prompt else None,
            kind=part,
        )

    def _part(self, part: Part, split: Split) -> list[Record]:
        folder, stem = self._file(), f"{getattr(self.files, part)}-{split}.jsonl"
        task = self.name.removeprefix("canonical-").replace("-", "_")
        for place in (folder, folder / "split", folder / task / "split"):
            for path in (place / stem, place / f"{stem}.gz"):
                if path.is_file():
                    return read_records(path)
        raise BadEdit(f"{folder}: there is no {stem} in it, nor in {task}/split/; pass the published folder 'data'")


def canonical(name: str, records: int, description: str, **what: Any) -> Published:
    """The task `canonical-<name>`; `what` are the fields that Published adds to a Dataset."""
    return Published(
        name=f"canonical-{name}",
        description=description,
        licence="none stated",
        source="github.com/john-hewitt/model-editing-canonical-examples, data/ (arXiv:2402.06155)",
        records=records,
        path=None,
        **what,
    )
