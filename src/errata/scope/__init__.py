"""Scope: which edits a text asks for. A property of the question, decided from its words; no layer's state is asked."""

from errata.scope.index import SAME, Hit, Index
from errata.scope.questions import Bound, Decision, Questions
from errata.scope.scorer import Form, Scorer

__all__ = ["SAME", "Bound", "Decision", "Form", "Hit", "Index", "Questions", "Scorer"]
