"""Sense vectors: a table of them says what the network says or is not used, and words are read off them by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from errata.errors import BadConfig, BadEdit, BadModel
from errata.models import EditableModel
from errata.models.backpack.modeling import BackpackForCausalLM
from errata.models.backpack.words import senses_of
from errata.patches.deltas import Dense
from errata.patches.weights import WeightPatch
from tiny import tiny_model

IDS = torch.tensor([[5, 9, 2, 9, 7, 30], [11, 4, 4, 8, 3, 2]])


@pytest.fixture
def editable() -> EditableModel:
    return tiny_model("backpack")


@pytest.fixture
def model(editable: EditableModel) -> BackpackForCausalLM:
    assert isinstance(editable.model, BackpackForCausalLM)
    return editable.model.requires_grad_(False)


def test_senses_depend_on_the_token_alone(model: BackpackForCausalLM) -> None:
    vectors = model.sense_vectors(IDS)
    assert vectors.shape == (2, 6, 16, 32)
    torch.testing.assert_close(vectors[0, 1], vectors[0, 3])
    torch.testing.assert_close(model.sense_vectors(torch.tensor(8)), vectors[1, 3])


@pytest.mark.parametrize("chunk", [7, 4096])
def test_a_table_gives_the_same_logits(model: BackpackForCausalLM, chunk: int) -> None:
    before = model(IDS).logits
    model.cache_senses(chunk=chunk)
    assert model.transformer.senses.tabulated()
    assert model.transformer.senses._table.rows.shape == (len(model.lm_head.weight), 16 * 32)
    torch.testing.assert_close(model(IDS).logits, before, atol=1e-5, rtol=1e-5)
    expected = model.generate(IDS, max_new_tokens=6, eos_token_id=None)
    model.train().eval()
    assert torch.equal(model.generate(IDS, max_new_tokens=6, eos_token_id=None), expected)


def test_a_table_in_half_precision(model: BackpackForCausalLM) -> None:
    before = model(IDS).logits
    model.cache_senses(torch.float16)
    out = model(IDS).logits
    assert out.dtype == torch.float32
    assert not torch.equal(out, before)
    torch.testing.assert_close(out, before, atol=0.02, rtol=0.01)


def test_a_table_is_no_part_of_the_model(editable: EditableModel, model: BackpackForCausalLM) -> None:
    names, print_before = set(model.state_dict()), editable.fingerprint()
    model.cache_senses()
    assert set(model.state_dict()) == names
    assert editable.fingerprint() == print_before


def write(model: BackpackForCausalLM) -> None:
    with torch.no_grad():
        model.transformer.senses.mlp.c_proj.weight[0, 0] += 1


def write_a_word(model: BackpackForCausalLM) -> None:
    with torch.no_grad():
        model.get_input_embeddings().weight[9] *= 2


def load(model: BackpackForCausalLM) -> None:
    model.load_state_dict({name: tensor * 1.5 for name, tensor in model.state_dict().items()})


def replace(model: BackpackForCausalLM) -> None:
    old = model.transformer.senses.ln.weight
    model.transformer.senses.ln.weight = torch.nn.Parameter(old * 2, requires_grad=False)


def step(model: BackpackForCausalLM) -> None:
    weight = model.transformer.senses.mlp.c_fc.weight.requires_grad_(True)
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=0.1).step()
    weight.requires_grad_(False)


@pytest.mark.parametrize("change", [write, write_a_word, load, replace, step])
def test_a_table_does_not_outlive_its_weights(
    model: BackpackForCausalLM, change: Callable[[BackpackForCausalLM], None]
) -> None:
    model.cache_senses()
    before = model(IDS).logits
    change(model)
    after = model(IDS).logits
    assert not model.transformer.senses.tabulated()
    assert model.transformer.senses._table is None
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after[0, 0], model.lm_head.weight @ model.transformer.senses.computed(
        model.get_input_embeddings()(IDS[0, 0])).sum(0), atol=1e-4, rtol=1e-4)  # fmt: skip


def test_a_change_of_the_trunk_leaves_the_table(model: BackpackForCausalLM) -> None:
    model.cache_senses()
    with torch.no_grad():
        model.transformer.trunk.h[0].mlp.c_fc.weight.mul_(2)
    assert model.transformer.senses.tabulated()


def test_a_patch_that_is_attached_and_detached(editable: EditableModel, model: BackpackForCausalLM) -> None:
    before = model(IDS).logits
    delta = Dense(torch.randn(16 * 32, 4 * 32, generator=torch.Generator().manual_seed(0)))
    name = "transformer.senses.mlp.c_proj.weight"
    patch = WeightPatch({name: delta}, method="m", config={}, edits=["e1"])
    model.cache_senses()
    patch.attach(editable)
    patched = model(IDS).logits
    assert not torch.allclose(patched, before)
    model.cache_senses()
    torch.testing.assert_close(model(IDS).logits, patched, atol=1e-4, rtol=1e-4)
    patch.detach(editable)
    assert torch.equal(model(IDS).logits, before)


def test_training_drops_the_table(model: BackpackForCausalLM) -> None:
    model.cache_senses()
    model.train()
    assert not model.transformer.senses.tabulated()
    with pytest.raises(BadConfig, match="training mode"):
        model.cache_senses()
    assert not model.eval().transformer.senses.tabulated()


def test_gradients_pass_the_table_by(model: BackpackForCausalLM) -> None:
    model.cache_senses()
    weight = model.transformer.senses.mlp.c_fc.weight.requires_grad_(True)
    model(IDS).logits.sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert model.transformer.senses.tabulated(), "it is kept for when no gradient is wanted"


def test_hooks_are_heard(model: BackpackForCausalLM) -> None:
    """Inside the network a table would silence them; on its output they see tabulated senses, and may change them."""
    before = model(IDS).logits
    model.cache_senses()
    inner = model.transformer.senses.block.register_forward_hook(lambda module, args, output: output * 2)
    assert not torch.allclose(model(IDS).logits, before)
    inner.remove()
    seen = []

    def double(_module: object, args: tuple, output: torch.Tensor) -> torch.Tensor:
        seen.append(args[1])
        return output * 2

    outer = model.transformer.senses.register_forward_hook(double)
    torch.testing.assert_close(model(IDS).logits, 2 * before, atol=1e-4, rtol=1e-4)
    outer.remove()
    assert torch.equal(seen[0], IDS)
    assert model.transformer.senses.tabulated()


def test_words_of_senses_by_hand(editable: EditableModel, model: BackpackForCausalLM) -> None:
    found = senses_of(editable, "France", count=3)
    ids = editable.tokenizer(" France")["input_ids"]
    assert len(found) == 16 * len(ids)
    sense = found[16 * (len(ids) - 1) + 2]
    assert (sense.place, sense.index) == (len(ids) - 1, 2)
    vector = model.sense_vectors(torch.tensor(ids[-1]))[2]
    logits = {token: float(model.lm_head.weight[token] @ vector) for token in range(len(editable.tokenizer))}
    ranked = sorted(logits, key=lambda token: -logits[token])
    assert [text for text, _ in sense.top] == [editable.tokenizer.decode([token]) for token in ranked[:3]]
    assert [text for text, _ in sense.lowest] == [editable.tokenizer.decode([token]) for token in ranked[:-4:-1]]
    assert sense.top[0][1] == pytest.approx(logits[ranked[0]], rel=1e-4)
    assert sense.norm == pytest.approx(float(vector.norm()), rel=1e-5)


def test_what_has_no_senses_is_named(editable: EditableModel) -> None:
    with pytest.raises(BadModel, match="tiny-gpt2 is a GPT2LMHeadModel, whose words have no senses; give a Backpack"):
        senses_of(tiny_model("gpt2"), "France")
    with pytest.raises(BadEdit, match="no word"):
        senses_of(editable, " ")
