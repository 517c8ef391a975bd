"""Shifts of a prompt's form that leave its question as it is: typos, letter case, text before it, register.

After the distribution shifts that edits meet in use (Hartvigsen et al., 2023, GRACE; Hoelscher-Obermaier et al., 2023,
whose distractors precede a prompt). Knows prompts and questions; no model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from errata.errors import unknown_name
from errata.evaluate.questions import Question

Shift: TypeAlias = Callable[[str, random.Random, str], str]
"""From a prompt, chances and the expected answer, which a shift neither damages nor gives away, to another prompt."""

CONTEXTS = (
    "It rained all morning.", "The train left on time.", "We had soup for lunch.", "The window was open.",
    "She closed the book and stood up.", "Nobody was in the garden.",
)  # fmt: skip
FACTS = (
    "Water boils at a hundred degrees.", "The heart pumps blood.", "Bees make honey.", "Iron rusts in damp air.",
    "The moon goes round the earth.", "Salt dissolves in water.", "Spiders have eight legs.", "Owls hunt at night.",
)  # fmt: skip
FRAMES = (
    "Please complete this for me: ", "Hi! Quick question: ", "Hey, could you help me out here? ",
    "I was just wondering, ", "Good morning. Kindly answer the following. ",
)  # fmt: skip
WORD = re.compile(r"[^\W\d_]{4,}")  # a typo in a shorter word, or in a number, makes it another one


def typo(prompt: str, chances: random.Random, answer: str) -> str:
    """One letter swapped with the next, dropped or doubled, in one word or two; never in a word of the answer."""
    kept = set(answer.lower().split())
    words = [match.span() for match in WORD.finditer(prompt) if match[0].lower() not in kept]
    chosen = chances.sample(words, min(len(words), 1 if len(words) < 6 else 2))
    for start, end in sorted(chosen, reverse=True):
        prompt = prompt[:start] + _mistyped(prompt[start:end], chances) + prompt[end:]
    return prompt


def lower(prompt: str, chances: random.Random, answer: str) -> str:
    """In small letters throughout."""
    return prompt.lower()


def upper(prompt: str, chances: random.Random, answer: str) -> str:
    """In capitals throughout."""
    return prompt.upper()


def context(prompt: str, chances: random.Random, answer: str) -> str:
    """After a neutral sentence."""
    return f"{_apart(CONTEXTS, chances, answer)} {prompt}"


def distractor(prompt: str, chances: random.Random, answer: str) -> str:
    """After a sentence that states another fact."""
    return f"{_apart(FACTS, chances, answer)} {prompt}"


def register(prompt: str, chances: random.Random, answer: str) -> str:
    """In a polite or chatty frame."""
    return _apart(FRAMES, chances, answer) + prompt


SHIFTS: dict[str, Shift] = {
    "typo": typo, "lower": lower, "upper": upper, "context": context, "distractor": distractor, "register": register,
}  # fmt: skip


def shifted(questions: Iterable[Question], sorts: Sequence[str], seed: int = 0) -> list[Question]:
    """Each question's prompt under each shift of `sorts`, where the shift changes it.

    An edit's own prompt becomes a "robustness" question with the same answer. A "locality" or "upstream" question
    becomes a "locality" question about "shifted", whose answer is what the unedited model says to the very same prompt;
    other kinds have no shifted form. What a prompt becomes depends on it and the seed alone. Raises: UnknownName.
    """
    for sort in sorts:
        if sort not in SHIFTS:
            raise unknown_name("shift", sort, SHIFTS)
    found = [_shifted(question, sort, seed) for question in questions for sort in sorts]
    return [question for question in found if question is not None]


def _shifted(question: Question, sort: str, seed: int) -> Question | None:
    chances = random.Random(f"{seed} {sort} {question.prompt}")
    prompt = SHIFTS[sort](question.prompt, chances, question.expected or "")
    if prompt == question.prompt:
        return None
    match question.kind:
        case "reliability":
            return Question("robustness", prompt, question.expected, question.edit, sort, question.rival)
        case "locality" | "upstream":
            return Question("locality", prompt, edit=question.edit, about="shifted")
    return None


def _mistyped(word: str, chances: random.Random) -> str:
    """The first letter stays, which keeps a word readable; doubling is for words whose letters are all alike."""
    places = [place for place in range(1, len(word) - 1) if word[place] != word[place + 1]]
    place = chances.choice(places or [1])
    ways = [word[:place] + word[place] + word[place:]]
    if places:
        ways += [word[:place] + word[place + 1 :], word[:place] + word[place + 1] + word[place] + word[place + 2 :]]
    return chances.choice(ways)


def _apart(sentences: Sequence[str], chances: random.Random, answer: str) -> str:
    """One of the sentences that do not hold the answer."""
    fitting = [sentence for sentence in sentences if not answer or answer.lower() not in sentence.lower()]
    return chances.choice(fitting or list(sentences))
