"""Errata corrects trained language models without retraining them: small, reversible, recorded patches.

    from errata import Edit, Editor
    editor = Editor.open("sheet/", model="lab:gpt")
    receipt = editor.edit([Edit("The mother tongue of Danielle Darrieux is", "English")], method="grace")

Names are imported when they are first used, so that `import errata` loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from errata.edit_files import read_edits, write_edits
    from errata.editor import Editor, Explanation, Receipt
    from errata.edits import Edit, Probe
    from errata.errors import ErrataError
    from errata.methods._base import Fit, Method, MethodConfig, option, register_method
    from errata.models import EditableModel

_HOMES = {
    "Edit": "errata.edits", "Probe": "errata.edits",
    "read_edits": "errata.edit_files", "write_edits": "errata.edit_files",
    "Editor": "errata.editor", "Explanation": "errata.editor", "Receipt": "errata.editor",
    "ErrataError": "errata.errors", "EditableModel": "errata.models",
    "Fit": "errata.methods._base", "Method": "errata.methods._base", "MethodConfig": "errata.methods._base",
    "option": "errata.methods._base", "register_method": "errata.methods._base",
}  # fmt: skip

__all__ = [
    "Edit", "EditableModel", "Editor", "ErrataError", "Explanation", "Fit", "Method", "MethodConfig", "Probe",
    "Receipt",
    "option", "read_edits", "register_method", "write_edits",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'errata' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
