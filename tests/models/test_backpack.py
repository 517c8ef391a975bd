"""The Backpack: its equations by hand, and what transformers expects of a model: caches, padding, files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.activations import ACT2FN

from errata.models import EditableModel
from errata.models.backpack.config import BackpackConfig
from errata.models.backpack.modeling import BackpackForCausalLM
from tiny import tiny_model

IDS = torch.tensor([[5, 9, 2, 9, 7, 30], [11, 4, 4, 8, 3, 2]])


@pytest.fixture
def model() -> BackpackForCausalLM:
    network = tiny_model("backpack").model
    assert isinstance(network, BackpackForCausalLM)
    return network.requires_grad_(False)


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape, norm.get_parameter("weight"), norm.get_parameter("bias"), 1e-5)


def mlp(module: nn.Module, x: Tensor) -> Tensor:
    """Two matrices stored (in, out), and GPT-2's activation between."""
    up, down = module.get_submodule("c_fc"), module.get_submodule("c_proj")
    inner = ACT2FN["gelu_new"](x @ up.get_parameter("weight") + up.get_parameter("bias"))
    return inner @ down.get_parameter("weight") + down.get_parameter("bias")


def softmax_of(scores: list[Tensor]) -> list[float]:
    highest = max(float(score) for score in scores)
    powers = [math.exp(float(score) - highest) for score in scores]
    return [power / sum(powers) for power in powers]


def trunk_by_hand(model: BackpackForCausalLM, ids: list[int]) -> list[Tensor]:
    """GPT-2's states, one position and one head at a time; block b divides its scores by b + 1."""
    trunk, config = model.transformer.trunk, model.config
    width = config.n_embd // config.n_head
    states = [trunk.wte.weight[token] + trunk.wpe.weight[place] for place, token in enumerate(ids)]
    for depth, block in enumerate(trunk.h):
        attention = block.get_submodule("attn.c_attn")
        parts = [
            (normed(block.get_submodule("ln_1"), state) @ attention.get_parameter("weight")
             + attention.get_parameter("bias")).split(config.n_embd)
            for state in states
        ]  # fmt: skip
        out = block.get_submodule("attn.c_proj")
        for i in range(len(ids)):
            heads = []
            for head in range(config.n_head):
                own = slice(head * width, (head + 1) * width)
                scores = [parts[i][0][own] @ parts[j][1][own] / math.sqrt(width) / (depth + 1) for j in range(i + 1)]
                weights = softmax_of(scores)
                heads.append(torch.stack([w * parts[j][2][own] for j, w in enumerate(weights)]).sum(0))
            mixed = torch.cat(heads) @ out.get_parameter("weight") + out.get_parameter("bias")
            states[i] = states[i] + mixed
            states[i] = states[i] + mlp(block.get_submodule("mlp"), normed(block.get_submodule("ln_2"), states[i]))
    return [normed(trunk.ln_f, state) for state in states]


def senses_by_hand(model: BackpackForCausalLM, token: int) -> Tensor:
    """(k, d), from the word's embedding alone."""
    senses = model.transformer.senses
    embedding = model.transformer.trunk.wte.weight[token]
    residual = embedding + normed(senses.ln, embedding)
    residual = residual + mlp(senses.block.mlp, normed(senses.block.ln_1, residual))
    flat = mlp(senses.mlp, normed(senses.block.ln_2, residual))
    return torch.stack(list(flat.split(model.config.n_embd)))


def logits_by_hand(model: BackpackForCausalLM, ids: list[int]) -> Tensor:
    config, alpha = model.config, model.transformer.contextualization
    count, width = config.num_senses, config.n_embd // config.num_senses
    both = [alpha.query_key.weight @ state + alpha.query_key.bias for state in trunk_by_hand(model, ids)]
    rows = []
    for i in range(len(ids)):
        total = torch.zeros(config.n_embd)
        for sense in range(count):
            query = both[i][sense * width : (sense + 1) * width]
            keys = [both[j][(count + sense) * width : (count + sense + 1) * width] for j in range(i + 1)]
            for j, weight in enumerate(softmax_of([query @ key / math.sqrt(width) for key in keys])):
                total = total + weight * senses_by_hand(model, ids[j])[sense]
        rows.append(model.transformer.trunk.wte.weight @ total)
    return torch.stack(rows)


def test_logits_by_hand(model: BackpackForCausalLM) -> None:
    out = model(IDS)
    for row, ids in enumerate(IDS.tolist()):
        torch.testing.assert_close(out.logits[row], logits_by_hand(model, ids), atol=1e-4, rtol=1e-4)
    assert out.logits.std() > 0.5


def test_weights_are_causal_and_sum_to_one(model: BackpackForCausalLM) -> None:
    weights = model(IDS).contextualization
    assert weights.shape == (2, 16, 6, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 16, 6))
    assert weights.triu(1).abs().max() == 0


def test_a_cache_changes_nothing(model: BackpackForCausalLM) -> None:
    whole = model(IDS).logits
    for cache in (None, DynamicCache(), DynamicCache(config=model.config)):
        first = model(IDS[:, :3], past_key_values=cache, use_cache=True)
        assert first.past_key_values.get_seq_length() == 3
        second = model(IDS[:, 3:], past_key_values=first.past_key_values)
        torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole, atol=2e-5, rtol=1e-5)
    assert model(IDS, use_cache=False).past_key_values is None


def test_a_cache_can_be_selected_from_and_cropped(model: BackpackForCausalLM) -> None:
    cache = model(IDS[:, :4], use_cache=True).past_key_values
    cache.crop(-1)
    cache.reorder_cache(torch.tensor([1, 0]))
    swapped = model(IDS[[1, 0], 3:], past_key_values=cache).logits
    torch.testing.assert_close(swapped[[1, 0]], model(IDS).logits[:, 3:], atol=2e-5, rtol=1e-5)
    cache = model(IDS[:, :3], use_cache=True).past_key_values
    cache.batch_select_indices(torch.tensor([1]))
    alone = model(IDS[1:, 3:], past_key_values=cache).logits
    torch.testing.assert_close(alone, model(IDS).logits[1:, 3:], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True}])
def test_generate_is_the_same_with_and_without_a_cache(model: BackpackForCausalLM, how: dict) -> None:
    written = []
    for cached in (True, False):
        torch.manual_seed(3)  # of sampling
        written.append(model.generate(IDS, max_new_tokens=8, use_cache=cached, eos_token_id=None, **how))
    assert torch.equal(*written)
    assert written[0].shape == (2 * how.get("num_return_sequences", 1), 14)


def test_padding_on_the_left_changes_nothing(model: BackpackForCausalLM) -> None:
    pads = torch.zeros(2, 3, dtype=torch.long)
    mask = torch.cat([pads, torch.ones_like(IDS)], 1)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    padded = torch.cat([pads, IDS], 1)
    out = model(padded, attention_mask=mask, position_ids=places)
    torch.testing.assert_close(out.logits[:, 3:], model(IDS).logits, atol=2e-5, rtol=1e-5)
    assert out.logits.isfinite().all()
    assert out.contextualization[:, :, 3:, :3].max() == 0
    written = model.generate(padded, attention_mask=mask, max_new_tokens=8, eos_token_id=None)
    assert torch.equal(written[:, 3:], model.generate(IDS, max_new_tokens=8, eos_token_id=None))


def test_a_mask_of_scores_holds_for_senses_too(model: BackpackForCausalLM) -> None:
    lowest = torch.finfo(torch.float32).min
    mask = torch.full((6, 6), lowest).triu(1)
    mask[3:, 1] = lowest
    out = model(IDS[:1], attention_mask=mask[None, None])
    assert out.contextualization[0, :, 3:, 1].max() == 0
    assert out.contextualization[0, :, 1:3, 1].min() > 0


def test_only_the_logits_asked_for(model: BackpackForCausalLM) -> None:
    whole = model(IDS).logits
    torch.testing.assert_close(model(IDS, logits_to_keep=2).logits, whole[:, -2:])
    torch.testing.assert_close(model(IDS, logits_to_keep=torch.tensor([0, 3])).logits, whole[:, [0, 3]])


def test_loss_is_that_of_the_next_token(model: BackpackForCausalLM) -> None:
    out = model(IDS, labels=IDS)
    expected = nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    torch.testing.assert_close(out.loss, expected)


def test_embeddings_instead_of_ids(model: BackpackForCausalLM) -> None:
    embeds = model.get_input_embeddings()(IDS)
    torch.testing.assert_close(model(inputs_embeds=embeds).logits, model(IDS).logits)


def test_saved_and_loaded(tmp_path: Path) -> None:
    editable = tiny_model("backpack")
    editable.model.save_pretrained(tmp_path)
    editable.tokenizer.save_pretrained(tmp_path)
    loaded = EditableModel.load(str(tmp_path), device="cpu")
    assert isinstance(loaded.model, BackpackForCausalLM)
    assert loaded.model.lm_head.weight is loaded.model.get_input_embeddings().weight
    assert (loaded.task, loaded.context, loaded.width) == ("causal", 64, 32)
    assert loaded.fingerprint() == editable.fingerprint()
    assert isinstance(AutoModelForCausalLM.from_pretrained(tmp_path), BackpackForCausalLM)
    outline = EditableModel.outline(str(tmp_path))
    assert len(outline.arch) == len(loaded.arch) == 4
    assert outline.model.device.type == "meta"


def test_half_precision(model: BackpackForCausalLM) -> None:
    whole = model(IDS).logits
    half = model.bfloat16()(IDS).logits
    assert half.dtype == torch.bfloat16
    assert (half.float() - whole).norm() / whole.norm() < 0.05


def test_defaults_are_those_of_the_published_model() -> None:
    with torch.device("meta"):
        network = BackpackForCausalLM(BackpackConfig())
    config = network.config
    assert (config.num_senses, config.n_embd, config.n_layer) == (16, 768, 12)
    assert network.transformer.contextualization.width == 48
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == 170
