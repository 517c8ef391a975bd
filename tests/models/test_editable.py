"""EditableModel: decoding, greedy matches, fingerprints, and leaving a model as it was."""

import copy
import dataclasses
from contextlib import suppress

import pytest
import torch
import transformers as hf

from errata.errors import BadConfig, BadModel
from errata.models import EditableModel
from errata.models.decoding import continue_greedily
from errata.models.losses import target_loss
from tiny import ARCHITECTURES, CAUSAL, CONTEXT, tiny_model, tiny_tokenizer

PROMPTS = ["The capital of France is", "Who wrote", "Berlin", "The mother tongue of Danielle Darrieux is"]
TARGETS = ["Paris", "the book", "Rome", "French"]


def taught(name: str) -> EditableModel:
    """A model that has learnt the first two targets, their end included."""
    model = tiny_model(name)
    batch = model.encode(PROMPTS[:2], TARGETS[:2])
    assert batch.gold is not None
    optimiser = torch.optim.Adam(model.model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        target_loss(model.forward(batch), batch.gold).sum().backward()
        optimiser.step()
        if model.greedy_match(batch).all():
            break
    return model


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_greedy_match_is_what_generate_writes(name: str) -> None:
    model = taught(name)
    matched = model.greedy_match(model.encode(PROMPTS, TARGETS)).tolist()
    written = model.generate(PROMPTS)
    assert matched == [answer == target for answer, target in zip(written, TARGETS, strict=True)]
    assert matched[:2] == [True, True]
    assert not all(matched)
    # A target that goes on where the model stops is not matched, nor one that stops earlier.
    longer = [f"{target} too" for target in TARGETS[:2]]
    assert not model.greedy_match(model.encode(PROMPTS[:2], longer)).any()
    assert model.greedy_match(model.encode(PROMPTS[:2], ["Par", "the"])).tolist() == [False, False]


@pytest.mark.parametrize("name", CAUSAL)
def test_cached_decoding_agrees_with_one_forward(name: str) -> None:
    """The ids written step by step, left-padded and cached, are the argmax of a single pass over them."""
    model = tiny_model(name)
    batch = model.encode(PROMPTS, padding_side="left")
    ids = continue_greedily(model, batch, 3)
    assert [len(row) for row in ids] == [3] * 4
    tail = torch.tensor(ids)
    gold = torch.full((4, batch.input_ids.shape[1] + 3), -100)
    gold[:, -4:-1] = tail
    assert batch.position_ids is not None
    whole = dataclasses.replace(
        batch,
        input_ids=torch.cat([batch.input_ids, tail], 1),
        attention_mask=torch.cat([batch.attention_mask, torch.ones_like(tail)], 1),
        position_ids=torch.cat([batch.position_ids, batch.position_ids[:, -1:] + torch.arange(1, 4)], 1),
        gold=gold,
    )
    assert model.greedy_match(whole).all()
    gold[1, -3] = (gold[1, -3] + 1) % 300
    assert model.greedy_match(whole).tolist() == [True, False, True, True]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_generate_batched_is_one_by_one(name: str) -> None:
    model = tiny_model(name)
    alone = [model.generate([prompt], max_new_tokens=5)[0] for prompt in PROMPTS]
    assert model.generate(PROMPTS, max_new_tokens=5) == alone
    assert model.generate(PROMPTS, max_new_tokens=5, batch_size=3) == alone
    if model.task == "classification":
        assert set(alone) <= {"no", "maybe", "yes"}


def test_generate_agrees_with_transformers() -> None:
    for name in ("gpt2", "t5"):
        model = tiny_model(name)
        inputs = model.tokenizer(PROMPTS[0], return_tensors="pt")
        out = model.model.generate(**inputs, do_sample=False, max_new_tokens=6)[0]  # type: ignore[operator]
        skipped = inputs["input_ids"].shape[1] if name == "gpt2" else 1
        wanted = model.tokenizer.decode(out[skipped:], skip_special_tokens=True)
        assert model.generate(PROMPTS[:1], max_new_tokens=6) == [str(wanted).strip()]


def test_generate_ignores_the_hub_sampling_settings() -> None:
    model = tiny_model("llama")
    before = model.generate(PROMPTS, max_new_tokens=8)
    assert model.model.generation_config is not None
    model.model.generation_config.repetition_penalty = 50.0
    model.model.generation_config.do_sample = True
    assert model.generate(PROMPTS, max_new_tokens=8) == before


def test_generate_without_a_cache() -> None:
    """A model that keeps no key-value cache reads everything again."""
    for name in ("gpt2", "t5"):
        model = tiny_model(name)
        wanted = model.generate(PROMPTS, max_new_tokens=4)
        model._accepts = model._accepts - {"use_cache", "past_key_values"}
        own = model.model.forward
        model.model.forward = lambda *args, own=own, **kwargs: own(*args, **{**kwargs, "use_cache": False})
        assert model.generate(PROMPTS, max_new_tokens=4) == wanted


def test_generate_stops_where_the_context_ends() -> None:
    model = tiny_model("gpt2")
    batch = model.encode([" is" * (CONTEXT - 2)], padding_side="left")
    assert len(continue_greedily(model, batch, 24)[0]) == 3


def test_generate_stops_at_a_listed_end() -> None:
    model = tiny_model("gpt2")
    batch = model.encode(PROMPTS[:1], padding_side="left")
    first, second, *_ = continue_greedily(model, batch, 5)[0]
    assert first != second
    assert model.model.generation_config is not None
    model.model.generation_config.eos_token_id = [model.tokenizer.eos_token_id, second]
    assert continue_greedily(model, batch, 5) == [[first]]


def test_generating_is_deterministic_in_train_mode() -> None:
    model = tiny_model("bert")
    batch = model.encode(PROMPTS, ["yes"] * 4)
    matched = model.greedy_match(batch)
    model.model.train()
    assert all(torch.equal(model.greedy_match(batch), matched) for _ in range(5))
    assert model.model.training


def test_greedy_match_needs_targets() -> None:
    model = tiny_model("gpt2")
    with pytest.raises(BadConfig, match="encode the batch with targets"):
        model.greedy_match(model.encode(PROMPTS))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keep_is_the_end_of_all_logits(name: str) -> None:
    model = tiny_model(name)
    batch = model.encode(PROMPTS)
    whole = model.forward(batch)
    assert whole.shape[0] == 4
    torch.testing.assert_close(model.forward(batch, keep=3), whole[:, -3:], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.forward(batch, keep=99), whole, atol=1e-5, rtol=0)


def test_fingerprint_follows_every_bit() -> None:
    model, twin = tiny_model("t5"), tiny_model("t5")
    print_ = model.fingerprint()
    assert len(print_) == 64
    assert twin.fingerprint() == print_
    assert EditableModel(copy.deepcopy(model.model), model.tokenizer).fingerprint() == print_
    weight = twin.model.get_parameter("decoder.block.1.layer.2.DenseReluDense.wo.weight")
    with torch.no_grad():
        weight[3, 4] = torch.nextafter(weight[3, 4], torch.tensor(9.0))
    assert twin.fingerprint() != print_
    assert model.fingerprint() == print_
    model.model.bfloat16()
    assert model.fingerprint() != print_


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_check_names_the_broken_weight(value: float) -> None:
    model = tiny_model("gpt2")
    model.check()
    with torch.no_grad():
        model.model.get_parameter("transformer.h.2.mlp.c_fc.weight")[0, 1] = value
    with pytest.raises(BadModel, match=r"'transformer\.h\.2\.mlp\.c_fc\.weight' of tiny-gpt2"):
        model.check()


def test_preserved_restores_everything() -> None:
    model = tiny_model("gpt2")
    model.model.train()
    model.block(1).eval()
    weights = list(model.model.parameters())
    weights[0].requires_grad_(False)
    weights[1].grad = torch.ones_like(weights[1])
    modes = [module.training for module in model.model.modules()]
    assert len(set(modes)) == 2
    with suppress(ZeroDivisionError), model.preserved():
        assert not any(module.training for module in model.model.modules())
        assert not any(weight.requires_grad for weight in weights)
        assert weights[1].grad is None
        weights[2].requires_grad_(True)
        weights[2].grad = torch.ones_like(weights[2])
        raise ZeroDivisionError
    assert [module.training for module in model.model.modules()] == modes
    assert [weight.requires_grad for weight in weights] == [False] + [True] * (len(weights) - 1)
    assert weights[1].grad is not None
    assert torch.equal(weights[1].grad, torch.ones_like(weights[1]))
    assert weights[2].grad is None


def test_layer_of() -> None:
    model = tiny_model("gpt2")
    assert [model.layer_of(spec) for spec in (0, 3, -1, -4, 0.0, 0.5, 1.0)] == [0, 3, 3, 0, 0, 2, 3]
    for wrong in (4, -5, 1.5, -0.1, float("nan")):
        with pytest.raises(BadConfig, match="the model has 4 blocks"):
            model.layer_of(wrong)
    assert model.block(-1) is model.model.get_submodule("transformer.h.3")


def test_kinds_of_model() -> None:
    tasks = {name: tiny_model(name).task for name in ("gpt2", "t5", "bert")}
    assert tasks == {"gpt2": "causal", "t5": "seq2seq", "bert": "classification"}
    config = hf.BertConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16)
    with pytest.raises(BadModel, match="BertModel is not a kind of model Errata edits"):
        EditableModel(hf.BertModel(config), tiny_tokenizer("cls"))


def test_facts_about_a_model() -> None:
    model = tiny_model("gpt2")
    assert (model.width, model.context, model.name) == (32, CONTEXT, "tiny-gpt2")
    assert (model.dtype, model.device.type) == (torch.float32, "cpu")
    assert tiny_model("t5").context is None
    assert tiny_model("roberta").context == CONTEXT - 1
    assert tiny_model("bert").labels == ["no", "maybe", "yes"]


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert"])
def test_bfloat16(name: str) -> None:
    model = tiny_model(name)
    model.model.bfloat16()
    model.check()
    targets = ["yes", "no", "yes", "no"] if name == "bert" else TARGETS
    batch = model.encode(PROMPTS, targets, padding_side="left")
    assert batch.gold is not None
    with model.preserved():
        whole = model.forward(batch)
        assert whole.dtype == torch.bfloat16
        prefix = model.prefix(batch, 1)
        hidden = prefix.hidden.clone().requires_grad_()
        loss = target_loss(prefix.resume(hidden, keep=batch.keep), batch.gold)
        assert loss.dtype == torch.float32
        loss.sum().backward()
        assert hidden.grad is not None
        assert hidden.grad.isfinite().all()
        with torch.no_grad():
            assert torch.equal(prefix.resume(prefix.hidden), whole)
    assert len(model.generate(PROMPTS, max_new_tokens=3)) == 4
