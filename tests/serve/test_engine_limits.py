"""What bounds the engine: rows, waiting, time, callers that leave, models that fail, its end."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from engines import PATIENCE, Gate, answers, ask, idle, one, running

from errata.errors import BadEdit
from errata.models import EditableModel
from errata.serve.engine.engine import Engine
from errata.serve.engine.request import Busy, Cancelled, Fault, Sampling, Stopped, TimedOut, TooLong
from tiny import tiny_model

LONG = Sampling(max_tokens=40, temperature=0)


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("gpt2")


def test_a_cancelled_request_frees_its_row_for_the_next(model: EditableModel):
    gate = Gate()
    with running(model, max_batch=1, metrics=gate) as engine:
        first, second = ask(engine, "Berlin", LONG), ask(engine, "Who wrote")
        gate.reached()
        assert (engine.stats().running, engine.stats().waiting) == (1, 1)
        gate.let(2)
        first.cancel()
        gate.let(1)
        with pytest.raises(Cancelled):
            first.finished.result(PATIENCE)
        gate.open()
        assert answers([second])[0].text.strip() == model.generate(["Who wrote"], max_new_tokens=14)[0]
    assert gate.outcomes == ["Cancelled", "length"]


def test_one_that_waits_can_be_cancelled(model: EditableModel):
    gate = Gate()
    with running(model, max_batch=1, metrics=gate) as engine:
        first, second = ask(engine, "Berlin"), ask(engine, "Who wrote")
        gate.reached()
        second.cancel()
        gate.let(2)  # the first step follows the prompt's pass with no look at who left
        with pytest.raises(Cancelled):
            second.finished.result(PATIENCE)
        gate.open()
        assert answers([first])[0].completion_tokens == 14


def test_rows_beside_a_cancelled_one_go_on_undisturbed(model: EditableModel):
    gate = Gate()
    prompts = ["Berlin", "The mother tongue of Danielle Darrieux is", "Who wrote"]
    with running(model, metrics=gate) as engine:
        asked = [ask(engine, prompt) for prompt in prompts]
        gate.reached()
        gate.let(4)
        asked[1].cancel()
        gate.open()
        got = answers([asked[0], asked[2]])
    assert [finished.text.strip() for finished in got] == model.generate([prompts[0], prompts[2]], max_new_tokens=14)


def test_a_full_queue_is_busy_and_takes_again_later(model: EditableModel):
    gate = Gate()
    with running(model, max_batch=1, max_waiting=2, metrics=gate) as engine:
        asked = [ask(engine, "Berlin")]
        gate.reached()
        asked += [ask(engine, "Who wrote") for _ in range(2)]
        with pytest.raises(Busy):
            ask(engine, "Who wrote")
        gate.open()
        assert len(answers(asked)) == 3
        assert one(engine, "Berlin").completion_tokens == 14


def test_a_request_fails_when_its_time_is_over_running_or_waiting(model: EditableModel):
    gate = Gate()
    with running(model, max_batch=1, metrics=gate) as engine:
        late = [ask(engine, "Berlin", timeout=PATIENCE), ask(engine, "Who wrote", timeout=PATIENCE)]
        patient = ask(engine, "Who wrote", timeout=PATIENCE)
        gate.reached()
        for generation in late:
            assert generation.deadline == pytest.approx(generation.submitted + PATIENCE)
            generation.deadline = generation.submitted
        gate.open()
        for generation in late:
            with pytest.raises(TimedOut, match="longer than 60 s"):
                generation.finished.result(PATIENCE)
        assert answers([patient])[0].completion_tokens == 14


def test_a_fault_of_the_model_fails_its_requests_and_not_the_engine(model: EditableModel):
    gate = Gate()
    with running(model, metrics=gate) as engine:
        asked = [ask(engine, "Berlin"), ask(engine, "Who wrote")]
        gate.reached()

        def broken(*_: object) -> None:
            raise RuntimeError("out of luck")

        handle = engine._parent.model.model.register_forward_pre_hook(broken)
        gate.open()
        for generation in asked:
            with pytest.raises(Fault, match="RuntimeError: out of luck"):
                generation.finished.result(PATIENCE)
        with pytest.raises(Fault):  # while a prompt is read, too
            one(engine, "Berlin")
        handle.remove()
        assert one(engine, "Berlin").completion_tokens == 14
        idle(engine)


def test_prompts_the_model_cannot_read_are_refused(model: EditableModel):
    engine = Engine(model)
    with pytest.raises(BadEdit, match="no tokens"):
        engine.submit([], LONG)
    with pytest.raises(BadEdit, match="ids"):
        engine.submit([3, 10**6], LONG)
    with pytest.raises(BadEdit, match="ids"):
        engine.submit([-1], LONG)
    with pytest.raises(TooLong, match="65 tokens"):
        engine.submit([9] * 65, LONG)
    engine.stop()


def test_stopping_fails_what_is_left_and_takes_nothing_more(model: EditableModel):
    gate = Gate()
    engine = Engine(model, max_batch=1, metrics=gate)
    engine.start()
    asked = [ask(engine, "Berlin", LONG), ask(engine, "Who wrote")]
    gate.reached()
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    while not engine._stopping:
        time.sleep(0.01)
    gate.open()
    stopping.join()
    with pytest.raises(Stopped):
        asked[1].finished.result(PATIENCE)
    with pytest.raises(Stopped):
        ask(engine, "Berlin")


def test_stopping_gently_completes_what_was_asked(model: EditableModel):
    engine = Engine(model, max_batch=1)
    engine.start()
    asked = [ask(engine, "Berlin"), ask(engine, "Who wrote")]
    engine.stop(drain=PATIENCE)
    assert [finished.completion_tokens for finished in answers(asked)] == [14, 14]


def test_a_reader_learns_of_a_failure(model: EditableModel):
    gate = Gate()

    async def read() -> None:
        generation = ask(engine, "Berlin", LONG)
        await asyncio.to_thread(gate.reached)
        generation.cancel()
        gate.open()
        with pytest.raises(Cancelled):
            async for _ in generation:
                pass
        with pytest.raises(Cancelled):
            await generation.result()

    with running(model, metrics=gate) as engine:
        asyncio.run(read())


def test_giving_up_the_wait_leaves_the_request_running(model: EditableModel):
    async def impatient() -> None:
        gate = Gate()
        with running(model, metrics=gate) as engine:
            generation = ask(engine, "Berlin")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(generation.result(), 0.01)
            gate.open()
            assert (await generation.result()).completion_tokens == 14

    asyncio.run(impatient())
