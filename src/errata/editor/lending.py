"""Edits of one model's sheet, lent to others: the patches that stand for some of its edits, and the model they are for.

The sheet itself is only read. Knows sheets and editors; what becomes of the patches is the borrower's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from errata.editor.session import Editor
from errata.errors import WrongModel
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.sheet import Sheet

Topic = tuple[str, ...]  # see Edit.topic


@dataclass(frozen=True)
class Loan:
    """A model without patches, patches for it in order, and the ids of their edits, by topic."""

    model: EditableModel
    patches: tuple[Patch, ...]
    ids: Mapping[Topic, str]


def lend(path: str, name: str | None, topics: Collection[Topic]) -> Loan:
    """What stands for the edits in force on the sheet at `path` that have these topics, and for no others.

    The others are undone in a copy of the sheet, so that what was solved together with them is solved again.

    Args:
        name: of the sheet's model, by default the one that the sheet has for it.
    Raises: BadSheet, BadModel; WrongModel where `name` is another model than the sheet's.
    """
    with tempfile.TemporaryDirectory(prefix="errata-") as scratch:
        copy = Path(scratch) / "sheet"
        with Sheet.open(path) as sheet:
            base = sheet.base
            sheet.copy_to(copy)
        model = EditableModel.load(name or base["name"])
        if model.fingerprint() != base["fingerprint"]:
            raise WrongModel(
                f"{path} is the sheet of {base['name']} ({base['fingerprint'][:12]}), and {model.name} is another "
                f"model ({model.fingerprint()[:12]}); name the one that it was made for"
            )
        with Editor.open(copy, model=model) as editor:
            # An edit that is undone may bring an older one back, which is then undone too.
            while others := [edit.id for edit in editor.state.active() if edit.topic not in topics]:
                editor.undo(*others)
            return Loan(model, tuple(editor.patches), {edit.topic: edit.id for edit in editor.state.active()})
