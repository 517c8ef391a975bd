"""What was seen of a model at one moment: answers, texts, continuations, weights, tasks. Metrics read this alone.

Each piece is plain data that becomes one line of JSON, so that every figure can be traced to the single prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from errata.evaluate.downstream.grades import Graded
from errata.evaluate.questions import Question, fact_of
from errata.prompts import identity


@dataclass(frozen=True, slots=True)
class Forced:
    """How an answer scores when it is forced upon the model, token by token (teacher forcing), its end included.

    Attributes:
        nll: summed negative log-likelihood, nats.
        tokens: how many tokens that is, the end among them.
        hits: how many of them are the model's first choice.
    """

    nll: float
    tokens: int
    hits: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, what the model freely says to it, and what it said before any edit.

    Attributes:
        expected: the question's, or what was said before where it has none.
        said: greedy free generation, which stops by itself.
        before: the same of the model without edits.
        forced, forced_before: scores of `expected`; None for a classifier.
        rival, rival_before: scores of the question's rival where it has one.
        kept: scores now of what was said before, where nothing should have moved.
    """

    question: Question
    expected: str
    said: str
    before: str
    forced: Forced | None = None
    forced_before: Forced | None = None
    rival: Forced | None = None
    rival_before: Forced | None = None
    kept: Forced | None = None

    @property
    def unit(self) -> str:
        """What the answer counts towards: its edit, in whatever wording, or the question itself where it has none."""
        return fact_of(self.question.edit) if self.question.edit else identity(self.question.prompt)

    def to_json(self) -> dict[str, Any]:
        """One line of results; from_json reads it back."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return {**values, "question": self.question.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Answer:
        question = Question.from_json(value["question"])
        rest = {name: item for name, item in value.items() if name != "question"}
        scores = {name: Forced(**item) for name, item in rest.items() if isinstance(item, Mapping)}
        return cls(question, **{**rest, **scores})


@dataclass(frozen=True, slots=True)
class Text:
    """One stretch of general text: summed loss in nats and tokens, now and before, and KL(before || now) a token."""

    nll: float
    nll_before: float
    tokens: int
    kl: float


@dataclass(frozen=True, slots=True)
class Continuation:
    """A long sampled continuation of an edit's prompt, now and before, and texts it should resemble, if any."""

    edit: str
    prompt: str
    said: str
    before: str
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """How far one matrix of the model is from its original: Frobenius norms of the difference and of the original."""

    name: str
    distance: float
    norm: float
    size: int


@dataclass(frozen=True)
class Evidence:
    """Everything seen of a model after `edits` edits were asked for, of which the latest batch is `latest`.

    `moved` is empty where no weight moved, and None where nobody looked.
    """

    edits: int
    answers: Sequence[Answer] = ()
    texts: Sequence[Text] = ()
    continuations: Sequence[Continuation] = ()
    moved: Sequence[Moved] | None = None
    downstream: Sequence[Graded] = ()
    latest: frozenset[str] = field(default_factory=frozenset)

    def of(self, *kinds: str) -> list[Answer]:
        """The answers to questions of these kinds."""
        return [answer for answer in self.answers if answer.question.kind in kinds]


def sorts(answers: Iterable[Answer]) -> Mapping[str, list[Answer]]:
    """Answers by what they are about, where they are about something in particular."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.question.about:
            found.setdefault(answer.question.about, []).append(answer)
    return found
