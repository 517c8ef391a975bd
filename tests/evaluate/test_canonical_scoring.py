"""What is measured of canonical examples: sums of nats, values of the four goals and when they are met."""

from __future__ import annotations

from math import log
from typing import cast

import pytest

from errata import datasets
from errata.datasets import Example
from errata.datasets._canonical import Canonical
from errata.evaluate.canonical.scoring import kept, met, nats, values
from tiny import tiny_model

GOALS = {
    "raise": "lab-capitals", "lower": "lab-unsaid", "balance": "lab-pronouns", "contrast": "lab-agreement"
}  # fmt: skip
PROMPTS = ["The capital of France is", "Who wrote the book? It was"]


def task(goal: str) -> Canonical:
    return cast(Canonical, datasets.get(GOALS[goal]))


def by_hand(prompt: str, suffix: str) -> float:
    """The nats of a suffix, token by token from the whole text."""
    model = tiny_model("gpt2")
    head = model.tokenizer(prompt)["input_ids"]
    whole = model.tokenizer(f"{prompt} {suffix}")["input_ids"]
    logits = model.forward(model.encode([f"{prompt} {suffix}"]))[0].detach().double().log_softmax(-1)
    return -sum(float(logits[place - 1, whole[place]]) for place in range(len(head), len(whole)))


def test_nats_are_summed_over_the_suffix_and_have_no_end():
    suffixes = ["Paris", "Danielle Darrieux"]
    found = nats(tiny_model("gpt2"), PROMPTS, suffixes)
    assert found == pytest.approx([by_hand(*pair) for pair in zip(PROMPTS, suffixes, strict=True)], rel=1e-4)


@pytest.mark.parametrize("goal", list(GOALS))
def test_values_of_the_goals(goal: str):
    examples = [Example(PROMPTS[0], ("Paris", "Rome")), Example(PROMPTS[1], ("Rome", "the book"))]
    pairs = [(by_hand(one.prompt, one.choices[0]), by_hand(one.prompt, one.choices[1])) for one in examples]
    wanted = {
        "raise": [first for first, _ in pairs],
        "lower": [first for first, _ in pairs],
        "balance": [abs(first - second) for first, second in pairs],
        "contrast": [second - first for first, second in pairs],
    }[goal]
    assert values(tiny_model("gpt2"), task(goal), examples) == pytest.approx(wanted, rel=1e-4)


def test_hard_negatives_have_the_nats_of_their_one_choice():
    [found] = kept(tiny_model("gpt2"), [Example(PROMPTS[0], ("Paris",), 0)])
    assert found == pytest.approx(by_hand(PROMPTS[0], "Paris"), rel=1e-4)
    assert kept(tiny_model("gpt2"), []) == values(tiny_model("gpt2"), task("raise"), []) == []


@pytest.mark.parametrize(
    ("goal", "threshold", "better"),
    [("raise", log(5), -1), ("lower", log(1000), 1), ("balance", log(1.5), -1), ("contrast", log(16), 1)],
)
def test_a_goal_is_met_at_its_threshold_and_beyond(goal: str, threshold: float, better: int):
    found = [met(task(goal), threshold + better * by) for by in (-1e-6, 1e-6, 3.0)]
    assert found == [False, True, True]
    assert met(task(goal), task(goal).threshold)
