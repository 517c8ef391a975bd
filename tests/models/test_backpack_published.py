"""The published Backpack's names and settings, with random weights: read in full, whatever form the file has."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from errata.errors import BadModel
from errata.models import EditableModel
from errata.models.backpack.modeling import BackpackForCausalLM
from errata.models.backpack.published import PublishedBackpack
from tiny import tiny_model

IDS = torch.tensor([[5, 9, 2, 9, 7, 30]])
SETTINGS = {
    "activation_function": "gelu_new", "architectures": ["BackpackGPT2LMHeadModel"], "model_type": "gpt2",
    "auto_map": {
        "AutoConfig": "configuration_backpack_gpt2.BackpackGPT2Config",
        "AutoModelForCausalLM": "modeling_backpack_gpt2.BackpackGPT2LMHeadModel",
    },
    "n_ctx": 1024, "num_senses": 16, "sense_intermediate_scale": 4, "scale_attn_by_inverse_layer_idx": True,
}  # fmt: skip
# Names of one trunk block and of the rest, with the shapes they have at width d, k senses, V words and C positions.
BLOCK = {
    "ln_1.weight": "d", "ln_1.bias": "d", "attn.c_attn.weight": "d 3d", "attn.c_attn.bias": "3d",
    "attn.c_proj.weight": "d d", "attn.c_proj.bias": "d", "ln_2.weight": "d", "ln_2.bias": "d",
    "mlp.c_fc.weight": "d 4d", "mlp.c_fc.bias": "4d", "mlp.c_proj.weight": "4d d", "mlp.c_proj.bias": "d",
}  # fmt: skip
REST = {
    "lm_head.weight": "V d",
    "backpack.gpt2_model.wte.weight": "V d", "backpack.word_embeddings.weight": "V d",
    "backpack.gpt2_model.wpe.weight": "C d", "backpack.position_embeddings.weight": "C d",
    "backpack.gpt2_model.ln_f.weight": "d", "backpack.gpt2_model.ln_f.bias": "d",
    "backpack.sense_network.ln.weight": "d", "backpack.sense_network.ln.bias": "d",
    "backpack.sense_network.block.ln_1.weight": "d", "backpack.sense_network.block.ln_1.bias": "d",
    "backpack.sense_network.block.ln_2.weight": "d", "backpack.sense_network.block.ln_2.bias": "d",
    "backpack.sense_network.block.mlp.c_fc.weight": "d 4d", "backpack.sense_network.block.mlp.c_fc.bias": "4d",
    "backpack.sense_network.block.mlp.c_proj.weight": "4d d", "backpack.sense_network.block.mlp.c_proj.bias": "d",
    "backpack.sense_network.final_mlp.c_fc.weight": "d 4d", "backpack.sense_network.final_mlp.c_fc.bias": "4d",
    "backpack.sense_network.final_mlp.c_proj.weight": "4d kd", "backpack.sense_network.final_mlp.c_proj.bias": "kd",
    "backpack.sense_weight_net.c_attn.weight": "2d d", "backpack.sense_weight_net.c_attn.bias": "2d",
}  # fmt: skip
SMALL = {"d": 32, "k": 4, "V": 340, "C": 64, "blocks": 2}
TRUE = {"d": 768, "k": 16, "V": 50264, "C": 512, "blocks": 12}
ONE_OF_A_KIND = [
    (),
    ("lm_head.weight", "backpack.gpt2_model.wte.weight", "backpack.gpt2_model.wpe.weight"),
    ("backpack.gpt2_model.wte.weight", "backpack.word_embeddings.weight", "backpack.position_embeddings.weight"),
]


def weights(sizes: dict[str, int], without: Collection[str] = (), device: str = "cpu") -> dict[str, Tensor]:
    """Random weights under the published names; shared ones are equal, and old mask buffers are there as well."""
    blocks = range(sizes["blocks"])
    named = {f"backpack.gpt2_model.h.{block}.{name}": text for block in blocks for name, text in BLOCK.items()}
    letters = {"d": sizes["d"], "kd": sizes["k"] * sizes["d"], "V": sizes["V"], "C": sizes["C"]}
    letters |= {f"{times}d": times * sizes["d"] for times in (2, 3, 4)}
    drawn = torch.Generator().manual_seed(0) if device == "cpu" else None
    made = {
        name: torch.randn([letters[part] for part in text.split()], device=device, generator=drawn) * 0.2
        for name, text in (named | REST).items()
    }
    for twin, name in (
        ("lm_head.weight", "gpt2_model.wte"), ("backpack.word_embeddings.weight", "gpt2_model.wte"),
        ("backpack.position_embeddings.weight", "gpt2_model.wpe"),
    ):  # fmt: skip
        made[twin] = made[f"backpack.{name}.weight"].clone()
    made["backpack.gpt2_model.h.0.attn.masked_bias"] = torch.tensor(-1e4, device=device)
    return {name: tensor for name, tensor in made.items() if name not in without}


def settings(sizes: dict[str, int]) -> dict:
    names = {"d": "n_embd", "k": "num_senses", "V": "vocab_size", "C": "n_positions", "blocks": "n_layer"}
    return SETTINGS | {"n_head": sizes["d"] // 8} | {name: sizes[letter] for letter, name in names.items()}


def written(folder: Path, state: dict[str, Tensor], form: str = "safetensors") -> str:
    (folder / "config.json").write_text(json.dumps(settings(SMALL)))
    if form == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(state, folder / "pytorch_model.bin")
    tiny_model("gpt2").tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("without", ONE_OF_A_KIND)
def test_every_parameter_lands_in_its_place(tmp_path: Path, without: tuple[str, ...], form: str) -> None:
    state = weights(SMALL)
    model = EditableModel.load(written(tmp_path, weights(SMALL, without), form), device="cpu").model
    assert isinstance(model, BackpackForCausalLM)
    loaded = model.state_dict()
    inside = model.transformer
    assert torch.equal(inside.trunk.wte.weight, state["backpack.word_embeddings.weight"])
    assert torch.equal(inside.trunk.wpe.weight, state["backpack.position_embeddings.weight"])
    assert torch.equal(inside.senses.mlp.c_proj.weight, state["backpack.sense_network.final_mlp.c_proj.weight"])
    assert torch.equal(inside.senses.block.mlp.c_fc.bias, state["backpack.sense_network.block.mlp.c_fc.bias"])
    assert torch.equal(inside.contextualization.query_key.weight, state["backpack.sense_weight_net.c_attn.weight"])
    one = "h.1.attn.c_attn.weight"
    assert torch.equal(loaded[f"transformer.trunk.{one}"], state[f"backpack.gpt2_model.{one}"])
    sums = sorted(float(tensor.double().sum()) for name, tensor in state.items() if "masked" not in name)
    for twin in ("word", "position"):
        sums.remove(float(state[f"backpack.{twin}_embeddings.weight"].double().sum()))
    assert sums == pytest.approx(sorted(float(tensor.double().sum()) for tensor in loaded.values()))


def test_it_is_saved_as_erratas_own(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    first = EditableModel.load(written(tmp_path / "theirs", weights(SMALL)), device="cpu")
    first.model.save_pretrained(tmp_path / "own")
    first.tokenizer.save_pretrained(tmp_path / "own")
    second = EditableModel.load(str(tmp_path / "own"), device="cpu")
    assert second.model.config.model_type == "backpack"
    assert second.fingerprint() == first.fingerprint()
    assert torch.equal(second.model(IDS).logits, first.model(IDS).logits)


def test_weights_that_are_no_backpack_are_refused_in_one_line(tmp_path: Path) -> None:
    part = {name: tensor for name, tensor in weights(SMALL).items() if "sense_network" not in name}
    with pytest.raises(BadModel, match=r"called a Backpack .* 14 of .*senses.*; give a") as caught:
        EditableModel.load(written(tmp_path, part), device="cpu")
    assert "\n" not in str(caught.value)


def test_true_shapes(tmp_path: Path) -> None:
    """On the meta device: names and shapes of all 170 million parameters, and nothing in memory."""
    (tmp_path / "config.json").write_text(json.dumps(settings(TRUE) | {"n_head": 12}))
    tiny_model("gpt2").tokenizer.save_pretrained(tmp_path)
    model = EditableModel.outline(str(tmp_path)).model
    assert isinstance(model, BackpackForCausalLM)
    assert model.transformer.contextualization.width == 48
    theirs = weights(TRUE, ONE_OF_A_KIND[2], device="meta")
    shapes = sorted(tuple(tensor.shape) for name, tensor in theirs.items() if "masked" not in name)
    assert shapes == sorted(tuple(parameter.shape) for parameter in model.parameters())


def test_settings_that_are_left_out_have_the_published_values(tmp_path: Path) -> None:
    folder = written(tmp_path, weights(SMALL | {"C": 512}))
    told = settings(SMALL)
    left_out = ("n_positions", "scale_attn_by_inverse_layer_idx", "sense_intermediate_scale")
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in told.items() if k not in left_out}))
    config = PublishedBackpack.from_pretrained(folder).config
    assert [getattr(config, name) for name in left_out] == [512, True, 4]
