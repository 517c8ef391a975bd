"""The recipe of `lab:backpack`: a Backpack that completes what `lab:gpt` completes, by the senses of the words.

    errata lab train backpack OUT/       (progress bar; interrupt at will, the same command goes on where it was)

The recipe of `lab:gpt` with the architecture exchanged, and no subject read through its last token alone: what a
Backpack says is a sum of senses of the very words in sight, so all of a name has to be in sight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from errata.lab.recipes import gpt
from errata.lab.recipes.corpus import special_ids
from errata.lab.recipes.gpt import Phase
from errata.models.backpack.config import BackpackConfig
from errata.models.backpack.modeling import BackpackForCausalLM


@dataclass(frozen=True)
class Recipe(gpt.Recipe):
    """Everything that determines the weights.

    Attributes:
        senses: sense vectors of a word.
        scale: inner width of the MLP that makes them, in widths of the model.
    """

    blocks: int = 6
    senses: int = 16
    scale: int = 4
    phases: tuple[Phase, ...] = (Phase(880),)


def build(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> BackpackForCausalLM:
    """A Backpack with random weights; its trunk has the sizes of the lab's GPT-2, but for the depth."""
    torch.manual_seed(recipe.seed)
    start, end, padding = special_ids(tokenizer)
    config = BackpackConfig(
        vocab_size=recipe.vocabulary, n_positions=recipe.context, n_embd=recipe.width, n_layer=recipe.blocks,
        n_head=recipe.heads, n_inner=recipe.inner, activation_function="gelu_pytorch_tanh",
        num_senses=recipe.senses, sense_intermediate_scale=recipe.scale,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=start, eos_token_id=end, pad_token_id=padding,
    )  # fmt: skip
    return BackpackForCausalLM(config)


class Training(gpt.Training):
    """One run of the recipe in one directory."""

    name = "backpack"
    description = "Backpack architecture; completes the facts of lab-facts by the senses of their words"
    blocks = (".h.", ".senses.")
    build = staticmethod(build)
