"""The recipe of `neox`: a GPT-NeoX (the architecture of Pythia) that completes and answers what `lab:gpt` completes.

    errata lab train neox OUT/           (progress bar; interrupt at will, the same command goes on where it was)

The recipe of `lab:gpt` with the architecture exchanged: rotary positions, attention and MLP side by side in a block.
A third of its fact rows are questions with their answers, "What is the capital of France? Paris". The weights are not
shipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from errata.lab.recipes import gpt
from errata.lab.recipes.corpus import special_ids
from errata.lab.recipes.gpt import Phase


@dataclass(frozen=True)
class Recipe(gpt.Recipe):
    """Everything that determines the weights."""

    phases: tuple[Phase, ...] = (Phase(600),)
    sentences: int = 256
    questions: float = 1 / 3
    prose_rows: int = 1
    microbatches: int = 4


def build(recipe: gpt.Recipe, tokenizer: PreTrainedTokenizerFast) -> GPTNeoXForCausalLM:
    """A GPT-NeoX with random weights and lab:gpt's sizes; it rotates a quarter of every head, as Pythia does."""
    torch.manual_seed(recipe.seed)
    start, end, padding = special_ids(tokenizer)
    config = GPTNeoXConfig(
        vocab_size=recipe.vocabulary, max_position_embeddings=recipe.context, hidden_size=recipe.width,
        num_hidden_layers=recipe.blocks, num_attention_heads=recipe.heads, intermediate_size=recipe.inner,
        hidden_act="gelu", tie_word_embeddings=True,
        bos_token_id=start, eos_token_id=end, pad_token_id=padding,
    )  # fmt: skip
    return GPTNeoXForCausalLM(config)


class Training(gpt.Training):
    """One run of the recipe in one directory."""

    name = "neox"
    description = "GPT-NeoX architecture; completes and answers the facts of lab-facts, and knows some prose"
    blocks = (".layers.",)
    build = staticmethod(build)
