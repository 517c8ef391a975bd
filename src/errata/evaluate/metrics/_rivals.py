"""CounterFact's comparisons of two answers to one question (Meng et al., 2022, ROME): which answers face each other.

Mean negative log-likelihood a token, the end token among them (ROME scores answers without an end). Knows answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from errata.evaluate.evidence import Answer, Evidence, Forced


class Match(NamedTuple):
    """Mean NLLs, nats a token, of the answer that should win and of its rival, with the unit they count towards."""

    unit: str
    wanted: float
    rival: float


def matches(evidence: Evidence) -> dict[str, list[Match]]:
    """By CounterFact's names: "efficacy" (prompts), "paraphrase" (rephrases), "neighbourhood" (the truth must win)."""
    neighbours = [answer for answer in evidence.of("locality") if answer.question.expected]
    named = [answer for answer in neighbours if answer.question.about == "neighbour"]
    return {
        "efficacy": _matches(evidence.of("reliability")),
        "paraphrase": _matches(evidence.of("generalization")),
        "neighbourhood": _matches(named or neighbours),
    }


def graded(found: Sequence[Match], grade: Callable[[float, float], float]) -> list[tuple[str, float]]:
    """Units with `grade(wanted, rival)`."""
    return [(match.unit, grade(match.wanted, match.rival)) for match in found]


def _matches(answers: Sequence[Answer]) -> list[Match]:
    return [
        Match(answer.unit, _mean(answer.forced), _mean(answer.rival))
        for answer in answers
        if answer.forced is not None and answer.rival is not None
    ]


def _mean(scored: Forced) -> float:
    return scored.nll / scored.tokens
