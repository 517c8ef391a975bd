"""A batch: the answers of one version that are decoded together, row by row.

Knows rows and answers, and keeps them aligned. Whose turn it is, and who gets a row, is the engine's concern.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from errata.patches.states import Firing
from errata.serve.engine.answer import Answer
from errata.serve.engine.request import Fault
from errata.serve.engine.rows import JoiningRows, Rows
from errata.serve.engine.sampling import choose
from errata.serve.engine.version import Version

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Batch:
    """Answers of one version that are decoded together.

    Attributes:
        answers: `answers[i]` is row i.
    """

    version: Version
    answers: list[Answer]
    rows: Rows

    def prune(self) -> None:
        """Take out the rows of answers that ended."""
        alive = [place for place, answer in enumerate(self.answers) if not answer.ended]
        if alive and len(alive) < len(self.answers):
            self.rows.keep(alive)
        self.answers = [self.answers[place] for place in alive]

    def join(self, other: Batch) -> None:
        """Take in another batch of the same version; the rows of both were fed."""
        self.prune()
        if not self.answers:
            self.rows = other.rows
        else:
            assert isinstance(self.rows, JoiningRows)
            assert isinstance(other.rows, JoiningRows)
            self.rows.join(other.rows)
        self.answers = self.answers + other.answers

    def take(self, firings: Sequence[Firing]) -> None:
        """Give every answer what its row got from the pass that was just made, with the edits that fired in it."""
        for firing in firings:
            if found := self.rows.locate(firing.row, firing.position, firing.layer):
                self.answers[found[0]].fire(firing, found[1])
        logits = self.rows.logits
        if self.version.model.task == "classification":
            for answer, scores, label in zip(self.answers, logits, logits.argmax(-1).tolist(), strict=True):
                answer.label(label, scores)
        else:
            tokens = choose(logits, self.answers)
            for answer, scores, token in zip(self.answers, logits, tokens, strict=True):
                answer.take(token, scores)
            self.rows.feed(tokens)
        self.prune()

    def fail(self, error: Exception) -> None:
        """A fault of the model ends all of it."""
        fail_all(self.answers, error)
        self.answers = []


def fail_all(answers: Sequence[Answer], error: Exception) -> None:
    """A fault of the model ends these answers, and nothing else."""
    log.error("the model failed on %d requests", len(answers), exc_info=error)
    for answer in answers:
        if not answer.ended:
            answer.fail(Fault(f"the model failed on this request: {type(error).__name__}: {error}"))
