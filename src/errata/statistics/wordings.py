"""Other wordings of a question, borrowed from facts in several wordings: what was asked of one subject so and so, can
be asked of another.

Knows texts alone. Whether a model takes a borrowed wording for the same question is for others to ask.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache

from errata.statistics.phrasings import Phrasings

SLOT = "{}"
LETTERS = 8  # of a template, besides its slot, by which a subject is recognised
TWICE = 2  # facts in which two wordings must meet before they count as one question


@lru_cache(maxsize=4)
def _families(phrasings: Phrasings) -> dict[str, Counter[str]]:
    """For every template of a prompt those that it was seen beside, and in how many facts."""
    beside: dict[str, Counter[str]] = defaultdict(Counter)
    for fact in phrasings.facts:
        templates = [template(prompt, fact.subject) for prompt in fact.prompts]
        found = [one for one in templates if one is not None]
        for one in found:
            beside[one].update(other for other in found if other != one)
    return dict(beside)


def template(prompt: str, subject: str | None) -> str | None:
    """The prompt with a slot where the subject stands; None if it does not stand there exactly once."""
    if not subject or prompt.count(subject) != 1 or SLOT in prompt:
        return None
    return prompt.replace(subject, SLOT)


def borrowed(phrasings: Phrasings, prompt: str, subject: str | None, most: int) -> list[str]:
    """At most so many other wordings of the prompt for its subject, those that met most often first.

    Where no subject is given, it is what stands in the slot of the longest template that the prompt fits.
    """
    subject = subject or _recognised(phrasings, prompt)
    own = template(prompt, subject)
    beside = _families(phrasings).get(own, Counter()) if own else Counter()
    ranked = sorted((-count, other) for other, count in beside.items() if count >= TWICE)
    return [other.replace(SLOT, str(subject)) for _, other in ranked[:most]]


def _recognised(phrasings: Phrasings, prompt: str) -> str | None:
    """The subject of a prompt that nobody named. A template of few letters would fit anything."""
    fitting = []
    for one in _families(phrasings):
        before, _, after = one.partition(SLOT)
        fixed = len(before) + len(after)
        if LETTERS <= fixed < len(prompt) and prompt.startswith(before) and prompt.endswith(after):
            fitting.append((fixed, prompt[len(before) : len(prompt) - len(after)]))
    return max(fitting)[1].strip() or None if fitting else None
