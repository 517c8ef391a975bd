"""The Editor and what it hands back."""

from errata.editor.answers import Difference, EditResult, Explanation, Firing, Receipt, Undone
from errata.editor.session import Editor

__all__ = ["Difference", "EditResult", "Editor", "Explanation", "Firing", "Receipt", "Undone"]
