"""Figures in words: how a number is written, what a metric is called, and what the intervals allow to be said.

Knows pages; knows no file format. One figure is said to be above another only where their intervals do not touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from errata.evaluate.figures import Figure
from errata.evaluate.metrics._base import better
from errata.evaluate.report.page import Entrant, Look, Page, Request

SHARES = ("perplexity.change",)  # parts that are shares though their metric is none
NUMBERS = ("perplexity", "kl", "fluency", "consistency", "weight-distance", "magnitude")
TITLES = {
    "reliability": "Reliability", "generalization": "Generalization", "portability": "Portability",
    "locality": "Locality", "retention": "Edit retention (ERR)", "upstream-retention": "Upstream retention (TRR)",
    "drawdown": "Drawdown", "perplexity.change": "Perplexity change", "harmonic": "Harmonic mean",
    "robustness": "Robustness", "fluency": "Fluency", "locality.neighbour": "Neighbours",
    "locality.same_subject": "Same subject",
}  # fmt: skip
CLAIMS = {
    "reliability": "{who} answers {value} of the edited prompts with the target",
    "generalization": "{who} answers {value} of the rephrasings of edited prompts with the target",
    "locality": "{who} leaves {value} of the unrelated answers as they were",
    "upstream-retention": "{who} rightly answers {value} of what the model was asked that no edit is about",
    "perplexity.change": "{who} changes perplexity on general text by {value}",
}
RULE = "“More” and “less” are said only where 95 % intervals do not touch."


def is_share(name: str) -> bool:
    return name in SHARES or name.partition(".")[0] not in NUMBERS


def number(name: str, value: float) -> str:
    """A metric's value as text: shares in percent, changes with their sign, other numbers with three digits."""
    if not is_share(name):
        return f"{value:.3g}"
    if name in SHARES:
        return f"{value:+.1%}" if value < 100 else f"×{value + 1:,.0f}" if value < 1e6 else f"×{value:.0e}"
    return f"{value:.1%}"


def interval(name: str, figure: Figure) -> str:
    """Both ends; the percent sign stands with the value."""
    return f"[{number(name, figure.low).rstrip('%')}, {number(name, figure.high).rstrip('%')}]"


def told(name: str, figure: Figure) -> str:
    return f"{number(name, figure.value)} {interval(name, figure)}"


def apart(one: Figure, other: Figure) -> bool:
    """Whether the intervals do not touch.

    A bootstrap interval of width nought says that nothing moved in n draws, which may still happen to 3 in n (the rule
    of three; Hanley and Lippman-Hand, 1983): so far it reaches here.
    """
    (low, high), (other_low, other_high) = _reach(one), _reach(other)
    return low > other_high or high < other_low


def _reach(figure: Figure) -> tuple[float, float]:
    margin = 3 / figure.n if figure.low == figure.high else 0.0
    return figure.low - margin, figure.high + margin


@dataclass(frozen=True)
class Standing:
    """The contender with the best value of a metric, those not told apart from it, and those that are."""

    best: tuple[Entrant, Figure]
    tied: tuple[tuple[Entrant, Figure], ...]
    behind: tuple[tuple[Entrant, Figure], ...]

    @property
    def clear(self) -> bool:
        """Whether the best is told apart from every other, of which there is one at least."""
        return bool(self.behind) and not self.tied


def standing(page: Page, name: str) -> Standing | None:
    """Who stands where at the end of the stream; None where nobody was measured."""
    sign = 1 if better(name) == "higher" else -1
    found = sorted(page.figures(name), key=lambda pair: -sign * pair[1].value)
    if not found:
        return None
    best, *others = found
    tied = tuple(pair for pair in others if not apart(best[1], pair[1]))
    return Standing(best, tied, tuple(pair for pair in others if apart(best[1], pair[1])))


def summary(page: Page) -> list[str]:
    """What the figures say first of all, a sentence each: what was done, what held, what broke."""
    if page.end is None:
        return ["Nothing has been measured yet."]
    held = _compared(page, "reliability")
    rule = [RULE] if len(page.compared) > 1 else []
    return [scene(page), *([held] if held else []), *_damage(page), *_collapsed(page), *_failed(page), *rule]


def comparisons(page: Page) -> list[str]:
    """What the other figures say, a sentence each."""
    claims = [_compared(page, name) for name in CLAIMS if name != "reliability"]
    return [*(claim for claim in claims if claim), *_forced(page)]


def scene(page: Page) -> str:
    """What was done to which model, and when it was measured; of a page on which something was."""
    recipe, end, total = page.recipe, page.end, plural(page.total, "edit") if page.total else "its edits"
    how = {
        "sequential": f"after {plural(end, 'edit')} made one on top of another",
        "batch": f"with {total}, each {end} made on the model as it came and undone again",
        "single": f"with {total}, each made on the model as it came and undone again",
    }[page.protocol]
    if page.protocol == "sequential" and recipe["size"] > 1:
        how += f", {recipe['size']} at a time"
    who = enumerated([entrant.label for entrant in page.compared])
    return f"{recipe['model']} was edited by {who} with {recipe['dataset']} and measured {how}."


def _compared(page: Page, name: str) -> str | None:
    found = standing(page, name)
    if found is None:
        return None
    best, figure = found.best
    text = CLAIMS[name].format(who=best.label, value=number(name, figure.value))
    if found.behind:
        text += f", {'more' if better(name) == 'higher' else 'less'} than {_valued(name, found.behind)}"
    if found.tied:
        are = "is" if len(found.tied) == 1 else "are"
        text += f"; {_valued(name, found.tied)} {are} not told apart from it"
    return f"{text}."


def _valued(name: str, found: Sequence[tuple[Entrant, Figure]]) -> str:
    return enumerated([f"{entrant.label} ({number(name, figure.value)})" for entrant, figure in found])


def _damage(page: Page) -> Iterator[str]:
    """Losses against the model before any edit that the intervals show."""
    before = {entrant.label: figure for entrant, figure in page.figures("upstream-retention.before")}
    for entrant, now in page.figures("upstream-retention"):
        old = before.get(entrant.label)
        if old and now.value < old.value and apart(now, old):
            fall = f"{number('upstream-retention', old.value)} to {number('upstream-retention', now.value)}"
            yield f"{entrant.label} broke what no edit is about: right answers to it fell from {fall}."


def _forced(page: Page) -> Iterator[str]:
    free = {entrant.label: figure for entrant, figure in page.figures("reliability")}
    for entrant, tokens in page.figures("reliability.tokens"):
        if entrant.label in free and apart(tokens, free[entrant.label]):
            shown, held = number("reliability", tokens.value), number("reliability", free[entrant.label].value)
            yield f"Teacher forcing would report {shown} for {entrant.label}; freely generated, {held} are the target."


def _collapsed(page: Page) -> Iterator[str]:
    for entrant in page.entrants:
        if entrant.collapse:
            yield f"{entrant.label} collapsed: {disabling(entrant.collapse, page.start or 0)}"


def disabling(look: Look, start: float) -> str:
    """After which edit perplexity stays above twice its start, naming it, or the edits that were new then."""
    risen = "no number any more" if look.perplexity is None else f"{look.perplexity:.4g}"
    when = (
        f"after {plural(look.edits, 'edit')} perplexity is {risen}, and from then on it stays above twice its start "
        f"({start:.4g});"
    )
    if len(look.since) == 1:
        return f"{when} the disabling edit is {requested(look.since[0])}."
    first, last = look.since[0], look.since[-1]
    return f"{when} the disabling edit is one of {len(look.since)}, from {requested(first)} to {requested(last)}."


def _failed(page: Page) -> Iterator[str]:
    works = [(entrant.label, entrant.work) for entrant in page.entrants if entrant.work]
    parts = [f"{label} did not make {work.failed} of {work.asked}" for label, work in works if work.failed]
    if parts:
        yield f"Not every edit could be made: {enumerated(parts)}."


def requested(request: Request) -> str:
    return f"{request.id} ({request.prompt} → {request.target})" if request.prompt else request.id


def plural(count: int | None, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def enumerated(parts: Iterable[str]) -> str:
    """One or more, with commas and an "and"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
