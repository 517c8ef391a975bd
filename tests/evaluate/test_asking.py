"""Asking: every score against the model's own logits, no prompt asked twice, and no order or batch that matters."""

from __future__ import annotations

import pytest
import torch

from errata.evaluate import asking
from errata.evaluate.asking import compared, forced_scores, free_answers, listen
from errata.evaluate.questions import Question
from errata.models import EditableModel
from tiny import tiny_model

PAIRS = [("The capital of France is", "Paris"), ("Who wrote the book?", "Danielle Darrieux"), ("Rome", "is")]


@pytest.fixture(scope="module", params=["gpt2", "t5"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    return tiny_model(request.param)


def test_forced_scores_are_the_models_own(model: EditableModel) -> None:
    scores = forced_scores(model, PAIRS)
    for prompt, answer in PAIRS:
        batch = model.encode([prompt], [answer])
        (ids,) = batch.target_ids
        assert batch.gold is not None
        with torch.no_grad():
            rows = model.forward(batch)[0].log_softmax(-1)[batch.gold[0] != -100]
        found = scores[prompt, answer]
        assert found.tokens == len(ids)
        assert ids[-1] == model.tokenizer.eos_token_id, "the end is scored too"
        assert found.nll == pytest.approx(-sum(rows[i, token].item() for i, token in enumerate(ids)), rel=1e-4)
        assert found.hits == sum(int(rows[i].argmax()) == token for i, token in enumerate(ids))


def test_what_a_model_says_by_itself_is_all_first_choices() -> None:
    prompt = "The mother tongue of Danielle Darrieux is"
    (heard,) = listen(EditableModel.load("lab:gpt"), [Question("locality", prompt)])
    assert heard.said == heard.expected
    assert heard.kept is not None
    assert heard.kept.hits == heard.kept.tokens >= 2


def test_batches_do_not_matter(model: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together, prompts = forced_scores(model, PAIRS), [prompt for prompt, _ in PAIRS]
    answers = free_answers(model, prompts, max_new_tokens=5)
    monkeypatch.setattr(asking, "ROWS", 1)
    alone = forced_scores(model, reversed(PAIRS))
    assert free_answers(model, prompts[::-1], max_new_tokens=5) == answers
    for pair in PAIRS:
        assert alone[pair].nll == pytest.approx(together[pair].nll, rel=1e-4)


def test_a_question_without_a_key_expects_what_was_said_before() -> None:
    model = tiny_model("gpt2")
    asked = [
        Question("locality", "Rome"), Question("locality", "Rome", "Italy"),
        Question("reliability", "Paris", "France", "e1", rival="Spain"),
    ]  # fmt: skip
    before = listen(model, asked, max_new_tokens=3)
    assert [heard.expected for heard in before] == [before[0].said, "Italy", "France"]
    with torch.no_grad():
        model.model.get_parameter("transformer.ln_f.weight").mul_(-1)
    now = listen(model, asked, before, max_new_tokens=3)
    assert now[0].said != before[0].said
    first, keyed, own = compared(asked, before, now)
    assert first.expected == first.before == before[0].said
    assert first.kept == now[0].forced, "what was said before is what is forced on the model now"
    assert keyed.expected == "Italy"
    assert keyed.kept != keyed.forced
    assert own.rival is not None
    assert own.forced_before is not None
    assert own.forced != own.forced_before


def test_no_prompt_and_no_pair_is_run_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    rows: list[str] = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda part, **more: rows.extend(part) or generate(part, **more))
    asked = [Question("locality", "Rome", edit=f"e{i}") for i in range(3)]
    assert len({heard.said for heard in listen(model, asked, max_new_tokens=2)}) == 1
    assert rows == ["Rome"]


def test_a_classifier_has_no_forced_scores() -> None:
    (heard,) = listen(tiny_model("bert"), [Question("reliability", "Is Paris in Italy?", "yes", "e1")])
    assert heard.said in ("no", "maybe", "yes")
    assert (heard.forced, heard.rival, heard.kept) == (None, None, None)
