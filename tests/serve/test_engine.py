"""What the engine answers: the same as one prompt at a time, whoever shares the batch and whenever they join."""

from __future__ import annotations

import asyncio

import pytest
import torch
from engines import PATIENCE, Gate, answers, ask, codebook, idle, one, running

from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.serve.engine.engine import Engine
from errata.serve.engine.request import Sampling
from errata.serve.engine.rows import can_join
from tiny import ARCHITECTURES, CAUSAL, LABELS, tiny_model

PROMPTS = [
    "The capital of France is", "Who wrote", "The mother tongue of Danielle Darrieux is", "Berlin", "a",
    "Madrid, London and Vienna are cities too. The capital of Italy", "book?", "Rome. Paris. Who wrote the book? The",
]  # fmt: skip


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


def alone(model: EditableModel, prompt: str, tokens: int = 14) -> str:
    return model.generate([prompt], max_new_tokens=tokens)[0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_requests_that_join_at_different_steps_get_the_answers_they_get_alone(arch: str):
    model, gate = tiny_model(arch), Gate()
    prompts = PROMPTS * 2
    lengths = [5 + 3 * (place % 5) for place in range(16)]
    with running(model, max_batch=6, metrics=gate) as engine:
        asked = []
        for place, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
            asked.append(ask(engine, prompt, Sampling(max_tokens=length, temperature=0)))
            if place == 0:
                gate.reached()
            elif place % 3 == 0 and place < 9 and model.task != "classification":  # whose answers take one pass
                gate.let(2)
        gate.open()
        got = answers(asked)
    expected = [alone(model, prompt, length) for prompt, length in zip(prompts, lengths, strict=True)]
    assert [finished.text.strip() for finished in got] == expected
    assert max(gate.rows) == 6 or model.task == "classification"
    if can_join(model):
        assert len(set(gate.rows)) > 2  # they did join and leave


def test_most_causal_models_let_rows_join_and_no_other_kind_does():
    assert {arch for arch in ARCHITECTURES if can_join(tiny_model(arch))} == set(CAUSAL)


def test_lab_model_answers_many_at_once_as_one_by_one(lab: EditableModel):
    prompts = [*PROMPTS, "The capital of Germany is", "Once upon a time there was a"] * 2
    with running(lab, max_batch=8) as engine:
        got = answers([ask(engine, prompt, Sampling(max_tokens=24, temperature=0)) for prompt in prompts])
    assert [finished.text.strip() for finished in got] == [alone(lab, prompt, 24) for prompt in prompts]
    assert {finished.finish_reason for finished in got} == {"stop", "length"}


def test_counts_and_reasons():
    model = tiny_model("gpt2")
    (ids,) = prompt_ids(model, ["Berlin"])
    with running(model) as engine:
        finished = one(engine, "Berlin", Sampling(max_tokens=3, temperature=0))
        stats = idle(engine)
    assert (finished.prompt_tokens, finished.completion_tokens, finished.finish_reason) == (len(ids), 3, "length")
    assert "".join(token.text for token in finished.tokens) == finished.text
    assert (stats.running, stats.waiting, stats.tokens, stats.steps) == (0, 0, 3, 3)


def test_an_answer_ends_where_the_model_reads_no_further():
    model = tiny_model("llama")
    assert model.context is not None
    ids = [7 + place % 200 for place in range(model.context - 4)]
    with running(model) as engine:
        finished = engine.submit(ids, Sampling(max_tokens=50, temperature=0)).finished.result(PATIENCE)
        last = engine.submit(ids + [9] * 4, Sampling(max_tokens=50, temperature=0)).finished.result(PATIENCE)
    assert finished.completion_tokens == 5  # the last one chosen is not read
    assert last.completion_tokens == 1


def test_tokens_stream_from_another_event_loop_than_the_answer_is_awaited_in():
    model = tiny_model("gpt2")

    async def stream() -> tuple[list[str], str]:
        generation = ask(engine, "Who wrote")
        pieces = [token.text async for token in generation]
        again = [token.text async for token in generation]
        assert again == pieces
        return pieces, (await generation.result()).text

    with running(model) as engine:
        pieces, text = asyncio.run(stream())
    assert "".join(pieces) == text
    assert len(pieces) == 14


def test_tokens_are_there_before_the_answer_is_complete():
    gate = Gate()

    async def first() -> None:
        generation = ask(engine, "Who wrote")
        await asyncio.to_thread(gate.reached)
        await asyncio.to_thread(gate.let, 3)
        async for _ in generation:
            break
        assert not generation.finished.done()

    with running(tiny_model("opt"), metrics=gate) as engine:
        asyncio.run(first())


def test_logprobs_are_the_models_own_whatever_the_temperature():
    model = tiny_model("qwen2")
    with running(model) as engine:
        finished = one(engine, "Berlin", Sampling(max_tokens=1, temperature=2, seed=5, logprobs=3))
    values = torch.log_softmax(model.forward(model.encode(["Berlin"]))[0, -1].detach(), -1)
    (token,) = finished.tokens
    assert token.logprob == pytest.approx(float(values[token.id]), abs=1e-5)
    best = values.topk(3)
    assert [value for _, value in token.top] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert [text for text, _ in token.top] == [model.tokenizer.decode([id]) for id in best.indices.tolist()]


def test_a_classifier_answers_with_its_label():
    model = tiny_model("bert")
    with running(model) as engine:
        got = [one(engine, prompt, Sampling(logprobs=3)) for prompt in PROMPTS]
    assert [finished.text for finished in got] == model.generate(PROMPTS)
    assert {text for text, _ in got[0].tokens[0].top} == set(LABELS)
    assert {finished.finish_reason for finished in got} == {"stop"}


@pytest.mark.parametrize("arch", ["gpt2", "llama", "gemma2", "t5", "bert"])
def test_an_answer_names_the_edit_that_fired_in_its_own_row(arch: str):
    model = tiny_model(arch)
    patch = codebook(model, PROMPTS[0])
    with running(model) as engine:
        engine.swap(1, [patch]).result(PATIENCE)
        got = answers([ask(engine, prompt) for prompt in (PROMPTS[2], PROMPTS[0], PROMPTS[1])])
    assert [bool(finished.fired) for finished in got] == [False, True, False]
    patch.attach(model)
    assert got[1].text.strip() == alone(model, PROMPTS[0])
    fired = got[1].fired[0]
    batch = model.encode([PROMPTS[0]])
    assert (fired.edit, fired.layer, fired.position) == ("e1", patch.layer, int(batch.query[0]))
    assert fired.distance <= fired.radius


def test_an_engine_takes_no_model_that_is_edited_already():
    model = tiny_model("gpt2")
    patch = codebook(model, PROMPTS[0])
    patch.attach(model)
    with pytest.raises(Exception, match="carry no patches"):
        Engine(model)
