"""Arch: blocks and matrices found by structure, on every architecture."""

import pytest
import transformers as hf
from torch import nn

from errata.errors import BadConfig, BadModel
from errata.models import Arch, EditableModel
from tiny import ARCHITECTURES, tiny_model, tiny_tokenizer

# For each: first block, last block, number of blocks, and the matrices of the last block below its path.
GPT2 = ("attn.c_proj", "mlp.c_fc", None, "mlp.c_proj")
LLAMA = ("self_attn.o_proj", "mlp.up_proj", "mlp.gate_proj", "mlp.down_proj")
ENCODER = ("attention.output.dense", "intermediate.dense", None, "output.dense")
LAYERS = ("model.layers.0", "model.layers.3", 4)
EXPECTED = {
    "gpt2": (("transformer.h.0", "transformer.h.3", 4), GPT2),
    "backpack": (("transformer.trunk.h.0", "transformer.trunk.h.3", 4), GPT2),
    "gpt_neox": (
        ("gpt_neox.layers.0", "gpt_neox.layers.3", 4),
        ("attention.dense", "mlp.dense_h_to_4h", None, "mlp.dense_4h_to_h"),
    ),
    "llama": (LAYERS, LLAMA),
    "qwen2": (LAYERS, LLAMA),
    "qwen3": (LAYERS, LLAMA),
    "mistral": (LAYERS, LLAMA),
    "gemma": (LAYERS, LLAMA),
    "gemma2": (LAYERS, LLAMA),
    "gptj": (("transformer.h.0", "transformer.h.3", 4), ("attn.out_proj", "mlp.fc_in", None, "mlp.fc_out")),
    "opt": (
        ("model.decoder.layers.0", "model.decoder.layers.3", 4),
        ("self_attn.out_proj", "fc1", None, "fc2"),
    ),
    "t5": (
        ("encoder.block.0", "decoder.block.2", 6),
        (
            "layer.0.SelfAttention.o",
            "layer.2.DenseReluDense.wi_1",
            "layer.2.DenseReluDense.wi_0",
            "layer.2.DenseReluDense.wo",
        ),
    ),
    "bert": (("bert.encoder.layer.0", "bert.encoder.layer.3", 4), ENCODER),
    "roberta": (("roberta.encoder.layer.0", "roberta.encoder.layer.3", 4), ENCODER),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_and_matrices(name: str) -> None:
    arch = tiny_model(name).arch
    (first, last, depth), matrices = EXPECTED[name]
    assert (arch.blocks[0], arch.blocks[-1], len(arch)) == (first, last, depth)
    named = dict(zip(("attn_out", "mlp_up", "mlp_gate", "mlp_down"), matrices, strict=True))
    assert arch.matrices(-1) == {role: f"{last}.{path}" for role, path in named.items() if path}
    assert arch.matrix(depth - 1, "mlp_down") == f"{last}.{named['mlp_down']}"


def test_direction_of_attention() -> None:
    assert tiny_model("gpt2").arch.encoder_depth == 0
    assert tiny_model("bert").arch.encoder_depth == 4
    t5 = tiny_model("t5").arch
    assert t5.encoder_depth == 3
    assert [t5.causal(layer) for layer in range(6)] == [False] * 3 + [True] * 3
    assert (t5.stack(1), t5.stack(4)) == (range(3), range(3, 6))


def test_classifier_on_a_decoder_is_causal() -> None:
    labels = {0: "no", 1: "yes"}
    config = hf.GPT2Config(vocab_size=330, n_embd=16, n_layer=2, n_head=2, id2label=labels, pad_token_id=0)
    model = EditableModel(hf.GPT2ForSequenceClassification(config).eval(), tiny_tokenizer())
    assert (model.task, model.arch.causal(0)) == ("classification", True)
    batch = model.encode(["Who wrote the book", "Rome"])
    assert batch.query.tolist() == (batch.attention_mask.sum(1) - 1).tolist()


def test_square_mlp_is_read_by_order() -> None:
    config = hf.LlamaConfig(
        vocab_size=330, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    arch = Arch.of(hf.LlamaForCausalLM(config))
    assert arch.matrix(0, "mlp_down").endswith("mlp.down_proj")
    assert arch.matrix(0, "mlp_gate").endswith("mlp.gate_proj")


def test_experts_are_not_mistaken_for_blocks_or_for_an_mlp() -> None:
    config = hf.MixtralConfig(
        vocab_size=330,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    arch = Arch.of(hf.MixtralForCausalLM(config))
    assert arch.blocks == ("model.layers.0", "model.layers.1")
    with pytest.raises(BadConfig, match="no matrix 'mlp_down'; choose one of: attn_out"):
        arch.matrix(0, "mlp_down")


def test_unknown_role_and_block() -> None:
    arch = tiny_model("gpt2").arch
    with pytest.raises(BadConfig, match=r"no matrix 'mlp_gate'.*mlp_up, mlp_down, attn_out"):
        arch.matrix(0, "mlp_gate")
    with pytest.raises(BadConfig, match="block 4 does not exist; the model has 4 blocks, 0 to 3"):
        arch.matrices(4)


def test_model_without_blocks() -> None:
    class Flat(hf.PreTrainedModel):
        config_class = hf.GPT2Config

        def __init__(self, config: hf.GPT2Config) -> None:
            super().__init__(config)
            self.heads = nn.ModuleList([nn.LayerNorm(4), nn.LayerNorm(4)])
            self.out = nn.Linear(4, 4)

    with pytest.raises(BadModel, match=r"cannot find the blocks of Flat.*nn\.ModuleList"):
        Arch.of(Flat(hf.GPT2Config()))


@pytest.mark.parametrize("names", [["gate_proj", "up_proj"], ["up_proj", "gate_proj"]])
def test_a_gate_is_known_by_name_wherever_it_is_declared(names: list[str]) -> None:
    model = hf.LlamaForCausalLM(
        hf.LlamaConfig(
            vocab_size=330, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
        )
    )
    mlp = model.get_submodule("model.layers.0.mlp")
    parts = {name: mlp.get_submodule(name) for name in [*names, "down_proj"]}
    mlp._modules.clear()
    for name, part in parts.items():
        mlp.add_module(name, part)
    assert Arch.of(model).matrix(0, "mlp_gate") == "model.layers.0.mlp.gate_proj"
    assert Arch.of(model).matrix(0, "mlp_up") == "model.layers.0.mlp.up_proj"
