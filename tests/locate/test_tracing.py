"""Causal tracing agrees with restoring one thing at a time in the whole model, and names tokens as the field does."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch

from errata.errors import BadConfig, BadEdit
from errata.locate.facts import Fact
from errata.locate.traces import CLASSES, Settings, Trace, token_classes
from errata.locate.tracing import noise_scale, subject_noise, trace
from errata.models import EditableModel
from errata.models.hooks import capture, replace_output
from errata.models.positions import subject_span
from tiny import tiny_model

FACT = Fact("The capital of France is", "France", "Paris")
SIGMA = 0.5
ROLES = {"mlp": "mlp_down", "attention": "attn_out"}
BEFORE, FIRST, MIDDLE, LAST, NEXT, FURTHER, END = CLASSES


def by_hand(
    model: EditableModel, fact: Fact, settings: Settings, restored: dict[str, Any] | None, column: int
) -> float:
    """Mean probability of the answer's first token over whole corrupted forwards, one sample at a time."""
    batch = model.encode([fact.prompt])
    span = subject_span(model, fact.prompt, fact.subject)
    reader = model.model.get_encoder() if model.task == "seq2seq" else model.model
    embedding = reader.get_input_embeddings()
    noise = SIGMA * subject_noise(fact, settings, len(span), embedding.get_parameter("weight").shape[1])
    answer = model.encode([fact.prompt], [fact.answer], end=False).target_ids[0][0]
    scores = []
    for sample in noise:

        def corrupt(hidden: torch.Tensor, sample: torch.Tensor = sample) -> torch.Tensor:
            if hidden.shape[1] != batch.input_ids.shape[1]:  # the decoder's
                return hidden
            noisy = hidden.clone()
            noisy[:, span.start : span.stop] += sample
            return noisy

        with ExitStack() as stack:
            stack.callback(replace_output(embedding, corrupt).remove)
            for path, clean in (restored or {}).items():

                def put(hidden: torch.Tensor, clean: torch.Tensor = clean) -> torch.Tensor:
                    changed = hidden.clone().reshape(-1, hidden.shape[-1])
                    changed[column] = clean.reshape(-1, hidden.shape[-1])[column]
                    return changed.view_as(hidden)

                stack.callback(replace_output(model.model.get_submodule(path), put).remove)
            with torch.no_grad():
                scores.append(model.forward(batch, keep=1)[0, -1].softmax(-1)[answer].item())
    return sum(scores) / len(scores)


@pytest.mark.parametrize("name", ["gpt2", "gptj", "gemma2", "opt", "t5"])
def test_it_is_what_one_restoration_at_a_time_gives(name: str) -> None:
    model = tiny_model(name)
    settings = Settings(samples=2, window=2, seed=3, rows=7)
    found = trace(model, FACT, SIGMA, settings)
    blocks = model.arch.stack(0)
    assert found.corrupted == pytest.approx(by_hand(model, FACT, settings, None, 0), abs=1e-6)
    assert {kind: table.shape[1] for kind, table in found.restored.items()} == dict.fromkeys(
        ("state", "mlp", "attention"), len(blocks)
    )
    first = model.encode([FACT.prompt]).input_ids.shape[1] - len(found.tokens)
    paths = [model.arch.blocks[block] for block in blocks]
    paths += [model.arch.matrix(block, role) for block in blocks for role in ROLES.values()]
    with capture(model.model, paths) as record, torch.no_grad():
        model.forward(model.encode([FACT.prompt]))
    clean = {path: calls[0] for path, calls in record.items()}
    for block in (0, 2):
        for place in (0, len(found.tokens) - 1):
            path = model.arch.blocks[block]
            state = by_hand(model, FACT, settings, {path: clean[path]}, first + place)
            assert float(found.restored["state"][place, block]) == pytest.approx(state, abs=1e-6)
            for kind, role in ROLES.items():
                window = [model.arch.matrix(one, role) for one in {max(block - 1, 0), block}]
                wanted = by_hand(model, FACT, settings, {path: clean[path] for path in window}, first + place)
                assert float(found.restored[kind][place, block]) == pytest.approx(wanted, abs=1e-6)


def test_a_causal_model_starts_at_the_subject_and_ends_clean() -> None:
    model = tiny_model("llama", bos=True)
    found = trace(model, FACT, SIGMA, Settings(samples=3))
    assert "".join(found.tokens) == " France is"
    assert BEFORE not in found.classes
    assert found.classes[-1] == END
    assert float(found.restored["state"][-1, -1]) == pytest.approx(found.clean, abs=1e-6)
    assert abs(found.clean - found.corrupted) > 1e-5


def test_an_encoder_is_traced_before_the_subject_too() -> None:
    found = trace(tiny_model("t5"), FACT, SIGMA, Settings(samples=2))
    assert found.classes[0] == BEFORE
    assert found.tokens[-1] == "</s>"
    assert found.restored["state"].shape == (len(found.tokens), 3)


def test_less_may_be_traced() -> None:
    model = tiny_model("gpt2")
    whole = trace(model, FACT, SIGMA, Settings(samples=2))
    part = trace(model, FACT, SIGMA, Settings(samples=2), kinds=["mlp"], classes=[LAST])
    assert part.classes == (LAST,)
    assert list(part.restored) == ["mlp"]
    place = whole.classes.index(LAST)
    torch.testing.assert_close(part.restored["mlp"][0], whole.restored["mlp"][place], atol=1e-6, rtol=0)
    none = trace(model, FACT, SIGMA, Settings(samples=2), classes=[FURTHER])
    assert (none.tokens, none.corrupted) == ((), whole.corrupted)


def test_the_seed_makes_the_noise_and_nothing_global() -> None:
    model = tiny_model("gpt2")
    state = torch.get_rng_state()
    one, same = (trace(model, FACT, SIGMA, Settings(samples=2, seed=1)) for _ in range(2))
    other = trace(model, FACT, SIGMA, Settings(samples=2, seed=2))
    assert one.to_json() == same.to_json()
    assert one.corrupted != other.corrupted
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("gpt2")
    model.model.train()
    before, modules = model.fingerprint(), [id(module) for module in model.model.modules()]
    trace(model, FACT, SIGMA, Settings(samples=2))
    assert model.fingerprint() == before
    assert model.model.training
    assert [id(module) for module in model.model.modules()] == modules
    assert not any(module._forward_hooks for module in model.model.modules())


def test_a_trace_reads_back_from_its_json() -> None:
    found = trace(tiny_model("gpt2"), FACT, SIGMA, Settings(samples=1))
    again = Trace.from_json(found.to_json())
    assert (again.fact, again.tokens, again.classes) == (found.fact, found.tokens, found.classes)
    assert again.to_json() == found.to_json()


@pytest.mark.parametrize(
    ("span", "length", "wanted"),
    [
        (range(1, 4), 8, [BEFORE, FIRST, MIDDLE, LAST, NEXT, FURTHER, FURTHER, END]),
        (range(0, 1), 3, [LAST, NEXT, END]),
        (range(0, 2), 3, [FIRST, LAST, END]),  # the one token after the subject is the prompt's last
        (range(1, 3), 3, [BEFORE, FIRST, LAST]),
    ],
)
def test_classes_of_tokens(span: range, length: int, wanted: list[str]) -> None:
    assert token_classes(span, length) == wanted


def test_the_window_grows_with_depth() -> None:
    assert [Settings().resolved_window(depth) for depth in (1, 8, 24, 48)] == [1, 2, 5, 10]
    assert Settings(window=6).resolved_window(4) == 4
    for wrong in ({"samples": 0}, {"window": -1}, {"noise": 0.0}, {"noise": float("nan")}):
        with pytest.raises(BadConfig, match=next(iter(wrong))):
            Settings(**wrong)  # type: ignore[arg-type]


def test_noise_is_scaled_to_the_subjects_embeddings() -> None:
    model = tiny_model("gpt2")
    table = model.model.get_input_embeddings().get_parameter("weight").detach()
    ids = model.tokenizer(" France")["input_ids"]
    assert noise_scale(model, [FACT]) == pytest.approx(float(table[ids].std()), rel=1e-5)


def test_what_cannot_be_traced() -> None:
    with pytest.raises(BadConfig, match=r"tiny-bert is a classifier.*--by salience"):
        trace(tiny_model("bert"), FACT, SIGMA, Settings())
    with pytest.raises(BadEdit, match="'Spain' is not in the prompt"):
        trace(tiny_model("gpt2"), Fact(FACT.prompt, "Spain", "Madrid"), SIGMA, Settings())
