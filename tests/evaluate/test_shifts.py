"""Shifts: deterministic, readable, and never at the answer's expense."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from errata.errors import UnknownName
from errata.evaluate.questions import Question
from errata.evaluate.shifts import CONTEXTS, FACTS, FRAMES, SHIFTS, shifted

PROMPT = "The mother tongue of Danielle Darrieux is"
EDIT = Question("reliability", PROMPT, "English", "e1", rival="French")


def of(sort: str, prompt: str = PROMPT, answer: str = "English", seed: int = 0) -> str:
    return SHIFTS[sort](prompt, random.Random(seed), answer)


def test_a_typo_touches_one_letter_of_at_most_two_words() -> None:
    ways = Counter()
    for seed in range(60):
        pairs = list(zip(PROMPT.split(), of("typo", seed=seed).split(), strict=True))
        wrong = [(old, new) for old, new in pairs if old != new]
        assert len(wrong) == 1, "five words or fewer can be mistyped: one is"
        for old, new in wrong:
            assert new[0] == old[0]
            assert abs(len(new) - len(old)) <= 1
            assert len(old) >= 4
            ways[len(new) - len(old)] += 1
    assert set(ways) == {-1, 0, 1}, "a letter dropped, swapped, doubled"


def test_a_long_prompt_has_two_typos() -> None:
    prompt = "People living within Danielle Darrieux country mostly speak"
    pairs = zip(prompt.split(), of("typo", prompt).split(), strict=True)
    assert sum(old != new for old, new in pairs) == 2


def test_a_typo_spares_the_answer_numbers_and_short_words() -> None:
    for seed in range(30):
        shifted = of("typo", "In 1984 English was said to be easier than", "English", seed)
        assert "1984 English was" in shifted
        assert shifted.startswith("In ")
    assert of("typo", "It is a 1984 one") == "It is a 1984 one", "nothing to mistype"


def test_a_word_of_one_letter_again_and_again_can_only_grow() -> None:
    assert {of("typo", "zzzz", seed=seed) for seed in range(9)} == {"zzzzz"}


def test_letter_case() -> None:
    assert of("lower") == "the mother tongue of danielle darrieux is"
    assert of("upper") == "THE MOTHER TONGUE OF DANIELLE DARRIEUX IS"


@pytest.mark.parametrize(
    ("sort", "sentences", "joint"), [("context", CONTEXTS, " "), ("distractor", FACTS, " "), ("register", FRAMES, "")]
)
def test_other_text_comes_before_and_the_prompt_stays(sort: str, sentences: tuple[str, ...], joint: str) -> None:
    assert {of(sort, seed=seed) for seed in range(60)} == {sentence + joint + PROMPT for sentence in sentences}


def test_text_before_never_holds_the_answer() -> None:
    assert all("honey" not in of("distractor", "Bees make", "honey", seed) for seed in range(60))


def test_an_edits_prompt_becomes_a_robustness_question_of_the_same_edit() -> None:
    (question,) = shifted([EDIT], ["upper"])
    assert question == Question("robustness", PROMPT.upper(), "English", "e1", "upper", "French")


def test_an_unrelated_prompt_is_held_against_its_own_shifted_answer() -> None:
    asked = [Question("upstream", "Paris is in", "France"), Question("locality", "Rome is in", "Italy", "e1", "near")]
    assert shifted(asked, ["lower"]) == [
        Question("locality", "paris is in", about="shifted"),
        Question("locality", "rome is in", edit="e1", about="shifted"),
    ]


def test_other_kinds_and_shifts_that_change_nothing_are_left_out() -> None:
    asked = [Question("generalization", "Her language:", "English", "e1"), Question("upstream", "paris is in")]
    assert shifted(asked, ["lower"]) == []
    assert shifted([EDIT], []) == []


def test_every_sort_once_and_the_seed_decides() -> None:
    every = shifted([EDIT], list(SHIFTS), seed=3)
    assert [question.about for question in every] == list(SHIFTS)
    assert every == shifted([EDIT], list(SHIFTS), seed=3)
    assert every != shifted([EDIT], list(SHIFTS), seed=4)
    others = [Question("reliability", f"{i} {PROMPT}", "English", f"o{i}") for i in range(3)]
    assert shifted([*others, EDIT], list(SHIFTS), seed=3)[-len(SHIFTS) :] == every, "whatever else is asked"


def test_an_unknown_sort_is_named() -> None:
    with pytest.raises(UnknownName, match=r"unknown shift 'typos'.*Did you mean 'typo'"):
        shifted([EDIT], ["typos"])
