"""Scope: which edits a text asks for. A property of the question, decided from its words; no layer's state is asked."""

from errata.scope.index import Hit, Index
from errata.scope.scorer import Scorer

__all__ = ["Hit", "Index", "Scorer"]
