"""A tiny random Llama as a .gguf file, written as llama.cpp's converter does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from errata.models import EditableModel
from tiny import CONTEXT, HEADS, LAYERS, WIDTH, tiny_model

KEY_HEADS = 2
TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write_gguf(
    path: Path, *, arch: str = "llama", tokenizer: bool = True, pre: str = "default", without: str = ""
) -> EditableModel:
    """Write a tiny Llama to `path`, and return it.

    Args:
        path: of the file.
        arch: what the file says its architecture is.
        tokenizer: whether it holds one.
        pre: what it calls the way of splitting texts.
        without: name of a tensor that it lacks.
    """
    from gguf import GGUFWriter, TokenType

    model = tiny_model("llama")
    config, tokens = model.model.config, model.tokenizer
    writer = GGUFWriter(path, arch)
    writer.add_name("a tiny one")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(len(tokens))
    if tokenizer:
        kept = json.loads(tokens.backend_tokenizer.to_str())
        special = {token["content"] for token in kept["added_tokens"]}
        names = tokens.convert_ids_to_tokens(list(range(len(tokens))))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(names)
        writer.add_token_types([TokenType.CONTROL if name in special else TokenType.NORMAL for name in names])
        writer.add_token_merges([" ".join(pair) for pair in kept["model"]["merges"]])
        writer.add_bos_token_id(tokens.bos_token_id)
        writer.add_eos_token_id(tokens.eos_token_id)
        writer.add_pad_token_id(tokens.pad_token_id)
        writer.add_add_bos_token(False)
        writer.add_chat_template(TEMPLATE)
    for name, weight in model.model.state_dict().items():
        if (theirs := _name(name)) != without:
            writer.add_tensor(theirs, _order(name, weight).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _name(name: str) -> str:
    stem = name.removesuffix(".weight")
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if stem in outside:
        return f"{outside[stem]}.weight"
    _, _, block, rest = name.split(".", 3)
    return f"blk.{block}.{_NAMES[rest.removesuffix('.weight')]}.weight"


def _order(name: str, weight: torch.Tensor) -> np.ndarray:
    """The rows of queries and keys in the order in which llama.cpp rotates them."""
    heads = HEADS if "q_proj" in name else KEY_HEADS if "k_proj" in name else 0
    values = weight.numpy()
    if not heads:
        return values
    return values.reshape(heads, 2, len(values) // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
