"""The checkpoint that the Backpack's authors published (`stanfordnlp/backpack-gpt2`), read under Errata's names.

Knows what they call its parameters and settings; their code is neither needed nor run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig

from errata.errors import BadModel
from errata.models.backpack.config import BackpackConfig
from errata.models.backpack.modeling import BackpackForCausalLM

ARCHITECTURE = "BackpackGPT2LMHeadModel"
# Beginnings of names, the first that fits counts. Word and position embeddings go by two names each in some files.
NAMES = {
    r"^backpack\.gpt2_model\.": "transformer.trunk.",
    r"^backpack\.word_embeddings\.": "transformer.trunk.wte.",
    r"^backpack\.position_embeddings\.": "transformer.trunk.wpe.",
    r"^backpack\.sense_network\.final_mlp\.": "transformer.senses.mlp.",
    r"^backpack\.sense_network\.": "transformer.senses.",
    r"^backpack\.sense_weight_net\.c_attn\.": "transformer.contextualization.query_key.",
}
_THEIRS = ("model_type", "architectures", "auto_map")  # of no meaning to Errata's class


class PublishedBackpack:
    """Makes a `BackpackForCausalLM` of what was published; to be used as transformers' auto classes are."""

    @staticmethod
    def from_pretrained(
        source: str, dtype: torch.dtype | str | None = None, local_files_only: bool = False
    ) -> BackpackForCausalLM:
        """The model at a directory or hub id.

        Raises:
            BadModel: parameters are missing.
        """
        told, _ = PreTrainedConfig.get_config_dict(source, local_files_only=local_files_only)
        loaded: Any = BackpackForCausalLM.from_pretrained(
            source, config=_config(told), dtype=dtype, key_mapping=NAMES, output_loading_info=True,
            local_files_only=local_files_only,
        )  # fmt: skip
        model, found = loaded
        if missing := sorted(found["missing_keys"]):
            raise BadModel(
                f"'{source}' is called a Backpack in its config, but {len(missing)} of a Backpack's parameters are not "
                f"in its weights, '{missing[0]}' first; give a checkpoint such as stanfordnlp/backpack-gpt2"
            )
        model._weight_conversions = []  # else it would be saved under their names, with a config for Errata's
        return model

    @staticmethod
    def from_config(config: PreTrainedConfig) -> BackpackForCausalLM:
        """The model with weights drawn at random."""
        return BackpackForCausalLM(_config(config.to_dict()))


def _config(told: Mapping[str, Any]) -> BackpackConfig:
    return BackpackConfig.from_dict({name: value for name, value in told.items() if name not in _THEIRS})
