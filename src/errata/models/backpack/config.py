"""The sizes of a Backpack: those of the GPT-2 that computes the contextualisation, and two of the senses.

Knows numbers and names; knows no tensor.
"""

from __future__ import annotations

from transformers import GPT2Config


class BackpackConfig(GPT2Config):
    """As `GPT2Config`, with the defaults of the published model (170 M parameters).

    Attributes:
        num_senses: sense vectors of a word, k.
        sense_intermediate_scale: inner width of the MLP that makes them, in units of the model's width d.
    """

    model_type = "backpack"

    vocab_size: int = 50264
    n_positions: int = 512
    scale_attn_by_inverse_layer_idx: bool = True
    num_senses: int = 16
    sense_intermediate_scale: int = 4
