"""A tiny random BART: an encoder-decoder with learned positions, which tests of T5 alone would not see."""

from __future__ import annotations

import torch
from transformers import BartConfig, BartForConditionalGeneration

from errata.models import EditableModel
from tiny import tiny_tokenizer


def tiny_bart() -> EditableModel:
    """A model of its own, the same at every call; three blocks in each stack."""
    tokenizer = tiny_tokenizer("eos")
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=3, decoder_layers=3, encoder_ffn_dim=48,
        decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=64,
        init_std=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        forced_eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EditableModel(BartForConditionalGeneration(config).eval(), tokenizer)
