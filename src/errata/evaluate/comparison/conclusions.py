"""What the figures of a part allow to be concluded, as sentences, each by one rule.

Knows pages; judges nothing that the rules do not say.
"""

from __future__ import annotations

from collections.abc import Iterator

from errata.evaluate.figures import Figure
from errata.evaluate.report.page import Entrant, Page
from errata.evaluate.report.words import enumerated, number, plural, standing, told

HELD = 0.95  # of the edited prompts: what counts as holding
RULES = (
    "The highest harmonic mean (of reliability, generalization and locality) at the end of a part is apart from "
    "another where their 95 % intervals do not touch; a method holds with a reliability of "
    f"{number('reliability', HELD)} or more; it collapses where perplexity rises above twice its start and stays there."
)


def conclusions(page: Page) -> list[str]:
    """A part's, in order: which method stands highest, which hold, which collapse, which were left out of this."""
    if page.end is None:
        return ["Nothing has been measured yet."]
    return [*_highest(page), *_holding(page), *_collapsing(page), *_earlier(page)]


def _highest(page: Page) -> Iterator[str]:
    found = standing(page, "harmonic")
    if found is None:
        yield "There is no harmonic mean: reliability, generalization and locality were not all asked."
        return
    best, figure = found.best
    claim = f"{_moment(page)} the highest harmonic mean is that of {best.label}, {told('harmonic', figure)}"
    if found.tied:
        yield f"{claim}, not told apart from {enumerated(_values(found.tied))}."
    elif found.behind:
        yield f"{claim}, apart from the next, {_values(found.behind[:1])[0]}."
    else:
        yield f"{claim}, and nobody else's was measured."


def _values(found: tuple[tuple[Entrant, Figure], ...]) -> list[str]:
    return [f"{entrant.label} ({told('harmonic', figure)})" for entrant, figure in found]


def _holding(page: Page) -> Iterator[str]:
    found = page.figures("reliability")
    held = [f"{e.label} ({number('reliability', figure.value)})" for e, figure in found if figure.value >= HELD]
    if found:
        yield f"Reliability is {number('reliability', HELD)} or more with {enumerated(held) if held else 'no method'}."


def _collapsing(page: Page) -> Iterator[str]:
    """Where edits piled up and perplexity was watched."""
    if page.protocol != "sequential" or not any(entrant.looks for entrant in page.entrants):
        return
    fallen = [f"{e.label} (after {plural(e.collapse.edits, 'edit')})" for e in page.entrants if e.collapse]
    yield f"{enumerated(fallen)} collapsed." if fallen else "No method collapsed."


def _earlier(page: Page) -> Iterator[str]:
    """Whom the others were not held against, for they have not come as far."""
    left = [e for e in page.entrants if e.last and e not in page.compared]
    if left:
        when = enumerated(f"{e.label} (after {plural(e.last.edits, 'edit')})" for e in left if e.last)
        yield f"Measured earlier in the stream alone, and not held against the others: {when}."


def _moment(page: Page) -> str:
    """When the methods that are compared were measured, at the beginning of a sentence."""
    if page.protocol == "sequential":
        return f"After {plural(page.end, 'edit')}"
    asked = max((e.work.asked for e in page.compared if e.work), default=None)
    how = "each alone" if page.protocol == "single" else f"{page.recipe['size']} at a time"
    return f"Over {plural(asked, 'edit')}, {how}," if asked else "At the end"
