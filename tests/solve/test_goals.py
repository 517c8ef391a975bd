"""Losses of canonical examples, the ball on general text, and what descends in it; by hand on tiny models."""

from __future__ import annotations

import math

import pytest
import torch

from errata import Edit
from errata.errors import BadConfig, BadEdit
from errata.models import EditableModel
from errata.solve.ball import Ball
from errata.solve.descent import Descent, descend
from errata.solve.general import Prose, Tether, stretches
from errata.solve.goals import CLOSER, Aims, aims
from errata.solve.nested import nested
from errata.solve.tuning import borrowed
from solve.known import Known
from tiny import tiny_model

GOOD = Edit("The capital of France is", "London", goal="raise", id="good")
BAD = Edit("The capital of Spain is", "Madrid", goal="lower", id="bad")
LEVEL = Edit("Rome is", "the book", goal="balance", rival="London", id="level")
BETTER = Edit("Madrid is in", "Spain", rival="Rome", id="better")
ANSWER = Edit("Who wrote the book?", "Danielle", id="answer")
ALL = (GOOD, BAD, LEVEL, BETTER, ANSWER)


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("gpt2")


def nats(model: EditableModel, prompt: str, target: str, end: bool = False) -> float:
    """Mean nats a token of the target, by one forward over the bare ids."""
    batch = model.encode([prompt], [target], end=end)
    ids = batch.input_ids[0]
    scores = model.model(input_ids=ids[None]).logits[0].log_softmax(-1)
    first = int(batch.query[0])
    said = range(first + 1, len(ids))
    return -sum(float(scores[place - 1, ids[place]]) for place in said) / len(said)


@torch.no_grad()
def test_every_goal_has_the_loss_of_the_paper(model: EditableModel) -> None:
    level, rival = nats(model, "Rome is", "the book"), nats(model, "Rome is", "London")
    by_hand = [
        nats(model, GOOD.prompt, GOOD.target),
        -nats(model, BAD.prompt, BAD.target),
        abs(level - rival),
        nats(model, BETTER.prompt, "Spain") - nats(model, BETTER.prompt, "Rome"),
        nats(model, ANSWER.prompt, ANSWER.target, end=True),
    ]
    assert Aims.of(model, ALL).losses(model).tolist() == pytest.approx(by_hand, abs=1e-5)
    assert [part.edits for part in aims(model, ALL, 2)] == [ALL[:2], ALL[2:4], ALL[4:]]


def test_examples_do_not_end_and_answers_do(model: EditableModel) -> None:
    batch = Aims.of(model, ALL).batch
    ends = [row[-1] == model.tokenizer.eos_token_id for row in batch.target_ids]
    assert ends == [False, False, False, False, True]


def test_an_example_needs_no_more_from_the_papers_ratio_on(model: EditableModel) -> None:
    assert Aims.of(model, ALL).enough(0.3).tolist() == pytest.approx(
        [0.3, -math.log(1000), CLOSER, -math.log(16), 0.3]
    )


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"goal": "praise"}, "there is no goal 'praise'"),
        ({"goal": "balance"}, "needs a rival"),
        ({"goal": "raise", "rival": "Rome"}, "leave the rival out"),
        ({"goal": "contrast", "rival": " Madrid"}, "must differ"),
        ({"goal": "contrast", "rival": " "}, "the rival is empty"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(values: dict, word: str) -> None:
    with pytest.raises(BadEdit, match=word):
        Edit("The capital of Spain is", "Madrid", **values)


def test_a_rival_alone_is_a_preference_and_survives_a_file() -> None:
    assert BETTER.goal == "contrast"
    assert Edit.from_json(BETTER.to_json()) == BETTER
    assert GOOD.topic != Edit(GOOD.prompt, "Paris", goal="raise").topic


def test_a_suffix_of_unknown_words_is_refused(model: EditableModel) -> None:
    (unknown,) = model.encode(["Rome is"], ["q"], end=False).target_ids[0][-1:]
    model.tokenizer.unk_token_id = unknown
    with pytest.raises(BadEdit, match="target 1 is not in the model's vocabulary"):
        model.encode(["Rome is ", "Rome is "], ["Rome", "q"], end=False)


def test_general_text_is_read_in_stretches_of_one_length(model: EditableModel) -> None:
    text = stretches(model, None, 5)
    assert text.input_ids.shape == (5, model.context)
    assert torch.equal(stretches(model, None, 2, skip=3).input_ids, text.input_ids[3:])
    with torch.no_grad():
        scores = model.forward(text)[:, :-1].log_softmax(-1)
    by_hand = -scores.gather(2, text.input_ids[:, 1:, None]).mean()
    assert Prose(model, text).start == pytest.approx(float(by_hand), abs=1e-5)


def test_text_is_read_no_further_once_its_loss_is_too_high_beyond_doubt(model: EditableModel) -> None:
    prose, rows = Prose(model, stretches(model, None, 32)), []
    assert prose.loss(limit=prose.start) == pytest.approx(prose.start, abs=1e-9)
    model.model.register_forward_pre_hook(lambda *_: rows.append(1))
    assert prose.loss(limit=prose.start) == pytest.approx(prose.start, abs=1e-9)
    assert len(rows) == 4
    model.model.lm_head.weight.requires_grad_(False).mul_(3.0)
    rows.clear()
    estimate = prose.loss(limit=prose.start)
    assert len(rows) == 1
    assert estimate == pytest.approx(prose.loss(), rel=0.05)
    assert len(rows) == 5


def test_models_without_text_of_their_own_have_no_ball() -> None:
    with pytest.raises(BadConfig, match="writes no text"):
        Ball.around(tiny_model("bert"), 1e-3)


def test_a_ball_without_room_is_refused() -> None:
    with pytest.raises(BadConfig, match="holds no state at all"):
        Ball(0.0, Known(lambda: 1.0))


def test_a_descent_in_a_ball_ends_at_the_last_state_inside(model: EditableModel) -> None:
    with borrowed(model, ["transformer.wte.weight"]) as matrices:
        seen: list[tuple[float, torch.Tensor]] = []
        ball = Ball.around(model, 2e-3)
        measured = ball.loss

        def watched(limit: float) -> float:
            seen.append((measured(), matrices.parameters[0].detach().clone()))
            return seen[-1][0]

        ball.loss = watched
        descent = descend(model, matrices.rates(0.02), aims(model, ALL, 8), steps=20, enough=0.0, ball=ball)
        inside = [state for loss, state in seen if loss < (1 + 2e-3) * ball.start]
        assert len(seen) == 20
        assert 0 < len(inside) < 20
        assert torch.equal(matrices.parameters[0], inside[-1])
        losses = torch.cat([part.losses(model) for part in aims(model, ALL, 8)])
    assert descent.losses == pytest.approx(losses.tolist(), abs=1e-5)
    figures = descent.figures(ALL)
    assert figures["good"]["general_loss"] < (1 + 2e-3) * figures["good"]["general_loss_before"]
    assert "problem" not in figures["good"]
    assert "not reached" in figures["answer"]["problem"]


@pytest.mark.parametrize("first", [0, 1])
def test_a_path_is_walked_once_for_balls_of_all_sizes(model: EditableModel, first: int) -> None:
    sizes, steps = (3e-3, 1e-3), []

    def walked(size: float) -> tuple[Descent, torch.Tensor]:
        with borrowed(model, ["transformer.wte.weight"]) as matrices:
            steps.clear()
            descent = descend(
                model, matrices.rates(0.02), aims(model, ALL, 8), steps=20, enough=0.0,
                ball=Ball.around(model, size), project=lambda: steps.append(1),
            )  # fmt: skip
            return descent, matrices.parameters[0].detach().clone()

    alone = {size: walked(size) for size in sizes}
    assert len({descent.steps for descent, _ in alone.values()}) == 2
    with nested(sizes):
        for place, size in enumerate((sizes[first], sizes[1 - first])):
            descent, state = walked(size)
            assert len(steps) == (0 if place else 20)
            assert torch.equal(state, alone[size][1])
            assert (descent.steps, descent.losses) == (alone[size][0].steps, alone[size][0].losses)
            assert descent.figures(ALL) == alone[size][0].figures(ALL)
        with borrowed(model, ["transformer.wte.weight"]) as matrices:  # another rate, another path
            descend(
                model, matrices.rates(0.01), aims(model, ALL, 8), steps=20, enough=0.0,
                ball=Ball.around(model, sizes[0]), project=lambda: steps.append(1),
            )  # fmt: skip
        assert len(steps) == 20


def test_a_ball_that_nothing_fits_into_leaves_the_model_as_it_was(model: EditableModel) -> None:
    with borrowed(model, ["transformer.h.1.mlp.c_proj.weight"]) as matrices:
        ball = Ball.around(model, 1e-9)
        ball.start /= 2
        descent = descend(model, matrices.rates(0.5), aims(model, [GOOD], 8), steps=3, enough=0.0, ball=ball)
        assert torch.equal(matrices.parameters[0], matrices.originals[0])
    assert "nothing fits into the ball" in descent.figures([GOOD])["good"]["problem"]


def test_a_tether_is_nought_at_the_start_and_holds_back(model: EditableModel) -> None:
    with borrowed(model, ["transformer.h.1.mlp.c_proj.weight"]) as matrices:
        tether = Tether(model, 2.0, stretches(model, None, 1), seed=0)
        assert float(tether()) == pytest.approx(0, abs=1e-6)
        with torch.no_grad():
            matrices.parameters[0].add_(0.3)
        now = model.forward(tether.text).log_softmax(-1)
        by_hand = 2.0 * (tether.before[0].exp() * (tether.before[0] - now)).sum(-1).mean()
        assert float(tether()) == pytest.approx(float(by_hand.detach()), rel=1e-4)


def test_the_cosine_schedule_slows_down(model: EditableModel) -> None:
    moved = []
    for schedule in ("constant", "cosine"):
        with borrowed(model, ["transformer.h.1.mlp.c_proj.weight"]) as matrices:
            descend(model, matrices.rates(0.01), aims(model, [GOOD], 8), steps=8, enough=0.0, schedule=schedule)
            moved.append(float((matrices.parameters[0] - matrices.originals[0]).detach().norm()))
    assert 0 < moved[1] < moved[0]
