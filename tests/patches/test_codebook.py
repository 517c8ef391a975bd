"""Codebooks on running models: where they fire, where they must not, and that they come off without a trace."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from errata.errors import WrongModel
from errata.models import EditableModel
from errata.models.hooks import capture
from errata.patches.codebook import CodebookPatch, Entry
from patches.codebooks import codebook
from tiny import tiny_model

PROMPT = "The capital of France is"
OTHERS = ("Berlin", "The mother tongue of Danielle Darrieux is")


def states_at(model: EditableModel, layer: int, prompts: Sequence[str], side: str = "right") -> Tensor:
    """Output of a block, (B, T, d)."""
    batch = model.encode(prompts, padding_side=side)  # type: ignore[arg-type]
    path = model.arch.blocks[layer]
    with torch.no_grad(), capture(model.model, [path]) as seen:
        arguments = model.inputs(batch)
        if model.task == "seq2seq":
            arguments["decoder_input_ids"] = torch.zeros(len(prompts), 1, dtype=torch.long)
        model.model(**arguments)
    return seen[path][0]


def query_of(model: EditableModel, layer: int, prompt: str) -> Tensor:
    batch = model.encode([prompt])
    return states_at(model, layer, [prompt])[0, int(batch.query[0])]


def editing(model: EditableModel, layer: int, prompt: str = PROMPT, edit: str = "a", seed: int = 1) -> CodebookPatch:
    """A codebook that answers one prompt with a random state."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(model.width, generator=generator) * 3
    entry = Entry(edit, query_of(model, layer, prompt), value, (5, 1), 0.5, prompt)
    return codebook(layer, [entry])


def logits(model: EditableModel, prompts: Sequence[str], side: str = "right") -> Tensor:
    targets = ["yes" if model.task == "classification" else "Rome"] * len(prompts)
    batch = model.encode(prompts, targets, padding_side=side)  # type: ignore[arg-type]
    with torch.no_grad():
        all_logits = model.forward(batch)
    assert batch.gold is not None
    return torch.stack([row[gold != -100] for row, gold in zip(all_logits, batch.gold, strict=True)])


def hooks(model: EditableModel) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._forward_hooks_always_called)
        for module in model.model.modules()
    )


WHERE = [("gpt2", 2), ("llama", 1), ("gemma2", 2), ("opt", 2), ("t5", 1), ("t5", 4), ("bert", 2), ("roberta", 3)]


@pytest.mark.parametrize(("arch", "layer"), WHERE)
def test_it_fires_at_its_prompt_alone_and_leaves_no_trace(arch: str, layer: int) -> None:
    model = tiny_model(arch)
    if layer == 4:  # a decoder block sees the decoder's first token
        query = states_at(model, layer, [PROMPT])[0, 0]
        patch = codebook(layer, [Entry("a", query, torch.ones(model.width) * 3, (5, 1), 0.5)])
    else:
        patch = editing(model, layer)
    before = logits(model, [PROMPT, *OTHERS])
    patch.attach(model)
    patch.attach(model)  # once more changes nothing
    assert patch.attached
    with patch.record() as firings:
        after = logits(model, [PROMPT, *OTHERS])
    assert [(one.row, one.edit, one.layer) for one in firings] == [(0, "a", layer)]
    assert not torch.allclose(after[0], before[0])
    assert torch.equal(after[1:], before[1:])
    patch.detach(model)
    patch.detach(model)
    assert not patch.attached
    assert hooks(model) == 0
    assert torch.equal(logits(model, [PROMPT, *OTHERS]), before)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "gpt_neox", "t5", "bert"])
def test_batches_and_both_sides_of_padding_agree_with_one_by_one(arch: str) -> None:
    model = tiny_model(arch)
    editing(model, 1).attach(model)
    prompts = [OTHERS[0], PROMPT, OTHERS[1], PROMPT]
    alone = torch.cat([logits(model, [prompt]) for prompt in prompts])
    torch.testing.assert_close(logits(model, prompts), alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(model, prompts, "left"), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "t5"])
def test_generation_with_and_without_a_cache_agrees(arch: str) -> None:
    model = tiny_model(arch)
    patch = editing(model, 1)
    plain = model.generate([PROMPT, OTHERS[0]], max_new_tokens=6)
    patch.attach(model)
    with patch.record() as firings:
        edited = model.generate([PROMPT, OTHERS[0]], max_new_tokens=6)
    assert edited[0] != plain[0]
    assert edited[1] == plain[1]
    assert firings
    batch = model.encode([OTHERS[0], PROMPT], padding_side="left")
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": model.pad_id}
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    cached = model.model.generate(**inputs, **options, use_cache=True)  # type: ignore[operator]
    whole = model.model.generate(**inputs, **options, use_cache=False)  # type: ignore[operator]
    assert torch.equal(cached, whole)


def test_a_match_in_the_middle_of_a_text_fires_where_the_state_recurs() -> None:
    model = tiny_model("gpt2")
    patch = editing(model, 2)
    patch.attach(model)
    end = len(model.encode([PROMPT]).input_ids[0]) - 1
    with patch.record() as firings:
        logits(model, [PROMPT + " Paris and more"])
    assert [(one.row, one.position) for one in firings] == [(0, end)]
    assert firings[0].distance <= firings[0].radius == 0.5


def test_recorded_positions_count_the_past_of_a_cache() -> None:
    model = tiny_model("llama")
    text = PROMPT + " Paris"
    ids = model.encode([text]).input_ids
    patch = codebook(2, [Entry("a", states_at(model, 2, [text])[0, -1], torch.zeros(model.width), (1,), 0.5)])
    patch.attach(model)
    with torch.no_grad(), patch.record() as firings:
        past = model.model(ids[:, :-1], use_cache=True).past_key_values
        model.model(ids[:, -1:], attention_mask=torch.ones_like(ids), past_key_values=past)
    assert [(one.row, one.position) for one in firings] == [(0, ids.shape[1] - 1)]


@pytest.mark.parametrize("arch", ["gpt2", "t5"])
def test_padding_never_fires(arch: str) -> None:
    model = tiny_model(arch)
    pair = [OTHERS[0], OTHERS[1]]
    padding = states_at(model, 1, pair)[0, -1]  # what stands at the end of the shorter row
    patch = codebook(1, [Entry("a", padding, torch.zeros(model.width), (1,), 0.5)])
    patch.attach(model)
    with patch.record() as firings:
        states_at(model, 1, pair)
    assert firings == []
    assert patch.lookup(padding[None])[0].all()  # though the state is in the ball


def test_the_mask_is_forgotten_after_every_forward_even_a_failing_one() -> None:
    model = tiny_model("t5")
    patch = editing(model, 1)
    patch.attach(model)
    short = model.encode([PROMPT, OTHERS[1]])
    broken = {**model.inputs(short), "decoder_input_ids": torch.full((2, 1), 10**6)}
    with pytest.raises(IndexError):
        model.model(**broken)
    alone = model.encode([PROMPT])
    with torch.no_grad(), patch.record() as firings:
        model.model(input_ids=alone.input_ids, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long))
    assert len(firings) == 1


def test_train_mode_replaces_and_learns_nothing() -> None:
    model = tiny_model("gpt2")
    patch = editing(model, 2)
    patch.attach(model)
    keys = patch.geometry.keys.clone()
    model.model.train()
    for module in model.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with patch.record() as firings:
        logits(model, [PROMPT, *OTHERS])
    assert [one.row for one in firings] == [0]
    assert torch.equal(patch.geometry.keys, keys)
    assert len(patch.entries) == 1


def test_gradients_flow_past_positions_that_were_not_replaced() -> None:
    model = tiny_model("gpt2")
    patch = editing(model, 1)
    patch.attach(model)
    last = model.encode([PROMPT]).input_ids.shape[1] - 1
    below = model.block(1).get_parameter("ln_1.weight")
    output = model.forward(model.encode([PROMPT]))
    (replaced,) = torch.autograd.grad(output[0, last].sum(), below, retain_graph=True)
    patch.detach(model)
    (plain,) = torch.autograd.grad(model.forward(model.encode([PROMPT]))[0, last].sum(), below)
    assert replaced.abs().sum() > 0  # by way of the tokens before
    assert not torch.allclose(replaced, plain)


def test_two_codebooks_at_a_layer_compose_in_order_and_keep_it() -> None:
    model = tiny_model("gpt2")
    first = editing(model, 2, seed=1)
    value = first.entries[0].value
    second = codebook(2, [Entry("b", value, torch.ones(model.width), (9, 1), 0.5)])  # fires on what the first wrote
    first.order, second.order = 0, 1
    first.attach(model)
    second.attach(model)
    with first.record() as one, second.record() as two:
        both = logits(model, [PROMPT])
    assert (len(one), len(two)) == (1, 1)
    first.detach(model)
    with second.record() as two:
        logits(model, [PROMPT])
    assert two == []
    first.attach(model)  # back in its old place, before the second
    assert torch.equal(logits(model, [PROMPT]), both)
    first.detach(model)
    second.detach(model)
    assert hooks(model) == 0


def test_codebooks_on_several_layers_and_two_models_do_not_meet() -> None:
    model, bystander = tiny_model("gpt2"), tiny_model("gpt2")
    plain = logits(model, [PROMPT])
    lower = editing(model, 0)
    lower.attach(model)
    upper = editing(model, 3, edit="b")  # its query is the state with the lower one in force
    upper.attach(model)
    with lower.record() as one, upper.record() as two:
        logits(model, [PROMPT])
        untouched = logits(bystander, [PROMPT])
    assert (len(one), len(two)) == (1, 1)
    assert torch.equal(untouched, plain)
    assert hooks(bystander) == 0


def test_a_model_is_freed_although_a_codebook_is_attached() -> None:
    model = tiny_model("gpt2")
    patch = editing(model, 1)
    patch.attach(model)
    logits(model, [PROMPT])
    freed = weakref.ref(model.model)
    del model
    gc.collect()
    assert freed() is None
    assert not patch.attached


def test_an_empty_codebook_adds_no_hook() -> None:
    model = tiny_model("gpt2")
    patch = codebook(1, [], edits=["a"])
    patch.attach(model)
    assert patch.attached
    assert hooks(model) == 0
    assert not patch.lookup(torch.randn(2, model.width))[0].any()
    patch.detach(model)


def test_a_codebook_for_another_model_is_refused_untouched() -> None:
    model = tiny_model("gpt2")
    point = torch.zeros(model.width + 1)
    with pytest.raises(WrongModel, match="width"):
        codebook(1, [Entry("a", point, point, (1,), 1.0)]).attach(model)
    point = torch.zeros(model.width)
    with pytest.raises(WrongModel, match="block 9"):
        codebook(9, [Entry("a", point, point, (1,), 1.0)]).attach(model)
    assert hooks(model) == 0
