"""The answers that say most about what went wrong: edits that do not hold, and answers that should not have moved.

Knows answers; which method gave them it does not ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import zip_longest

from errata.evaluate.evidence import Answer, Forced
from errata.evaluate.grading import exact
from errata.evaluate.report.page import Case

MOST = 10  # examples of a method
LAPSED = "the edit does not hold"
LEAKED = "an edit's target where it does not belong"
LOST = "a right answer was lost"
MOVED = "an answer changed that should not"


def cases(answers: Sequence[Answer], failed: Collection[str], most: int = MOST) -> list[Case]:
    """Up to `most` telling answers, turn by turn of each sort, the plainest of a sort first, no prompt twice.

    An edit that was not made (`failed`) is no example of one that does not hold.
    """
    own = [a for a in answers if a.question.kind == "reliability" and a.question.edit not in failed]
    lapsed = [a for a in own if not exact(a.said, a.expected)]
    moved = [a for a in answers if a.question.kind in ("locality", "upstream") and not exact(a.said, a.before)]
    sorts = [
        _cases(lapsed, lambda a: _nats(a.forced), lambda a: LAPSED),
        *(_cases([a for a in moved if a.question.kind == kind], _harm, _why) for kind in ("locality", "upstream")),
    ]
    found: dict[str, Case] = {}
    for case in (case for turn in zip_longest(*sorts) for case in turn if case is not None):
        found.setdefault(case.prompt, case)
    return list(found.values())[:most]


def _cases(answers: Iterable[Answer], weight: Callable[[Answer], float], why: Callable[[Answer], str]) -> list[Case]:
    ordered = sorted(answers, key=lambda a: (-weight(a), a.question.prompt))
    return [Case(why(a), a.question.prompt, a.expected, a.before, a.said, a.question.edit) for a in ordered]


def _why(answer: Answer) -> str:
    if answer.question.rival and exact(answer.said, answer.question.rival):
        return LEAKED
    if answer.question.expected and exact(answer.before, answer.expected):
        return LOST
    return MOVED


def _harm(answer: Answer) -> float:
    """Leaked targets before lost answers before other changes; among like ones, how far the earlier answer fell."""
    rank = {LEAKED: 2, LOST: 1}.get(_why(answer), 0)
    return rank * 1e6 + min(_nats(answer.kept), 1e5)


def _nats(forced: Forced | None) -> float:
    """Negative log-likelihood a token; 0 where nothing was scored."""
    return forced.nll / forced.tokens if forced else 0.0
