"""The Backpack as a transformers model: a GPT-2 weighs the sense vectors of the words so far, their sum is read out.

Loading, saving, generation, caches, devices and dtypes are transformers'. Knows nothing of text or of edits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.gpt2.modeling_gpt2 import GPT2Model, GPT2PreTrainedModel
from transformers.utils.generic import ModelOutput

from errata.models.backpack.config import BackpackConfig
from errata.models.backpack.senses import Senses


@dataclass
class BackpackOutput(ModelOutput):
    """What a Backpack makes of B rows of T tokens, S of them in sight with those of the cache.

    Attributes:
        loss: of `labels`, if given.
        logits: (B, T, V), or of the positions asked for.
        last_hidden_state: (B, T, d), the weighted sums o.
        contextualization: (B, k, T, S), the weights α: rows sum to 1 for each sense.
        past_key_values: the cache; its last layer is that of the senses.
        hidden_states, attentions: those of the GPT-2 inside, where asked for.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    contextualization: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Contextualization(nn.Module):
    """α: for each sense a causal softmax of queries and keys; there are no values but the senses themselves."""

    def __init__(self, config: BackpackConfig) -> None:
        super().__init__()
        self.senses = config.num_senses
        self.width = config.n_embd // config.num_senses
        self.query_key = nn.Linear(config.n_embd, 2 * self.senses * self.width)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, (B, k, T, d / k) each, of states (B, T, d)."""
        query, key = self.query_key(states).unflatten(-1, (2, self.senses, self.width)).permute(2, 0, 3, 1, 4)
        return query, key

    def forward(self, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
        """(B, k, T, S), from queries of T positions and keys of S; `mask` is added to the scores."""
        scores = query @ key.transpose(-1, -2) * self.width**-0.5
        if mask is not None:
            scores = scores + mask
        return scores.softmax(-1, dtype=torch.float32).to(query.dtype)


class BackpackPreTrainedModel(GPT2PreTrainedModel):
    """Weights are drawn as GPT-2's are."""

    config_class = BackpackConfig
    config: BackpackConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = False
    _can_compile_fullgraph = False
    _no_split_modules: ClassVar[list[str]] = ["GPT2Block", "SenseBlock"]
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = ["attn.bias", "attn.masked_bias"]  # masks of old files


class BackpackModel(BackpackPreTrainedModel):
    """The Backpack up to the sums o.

    Attributes:
        trunk: the GPT-2 whose states α is computed from; its word embeddings are also the senses' and the head's.
        senses: c.
        contextualization: α.
    """

    def __init__(self, config: BackpackConfig) -> None:
        super().__init__(config)
        self.trunk = GPT2Model(config)
        self.senses = Senses(config)
        self.contextualization = Contextualization(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.trunk.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.trunk.wte = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **options: Any,
    ) -> BackpackOutput:
        """Sums and weights of B rows of T tokens.

        Args:
            input_ids: (B, T).
            past_key_values: what earlier calls left; its last layer holds the senses and their keys.
            attention_mask: (B, S), 0 at padding; or (B, 1, T, S), added to every attention score.
            position_ids: (B, T), for the trunk; the senses know none.
            inputs_embeds: (B, T, d) instead of ids, without positions.
            use_cache: whether to return a cache; by default what the config says, or the cache that was given.
            options: for the trunk.
        """
        embeds = self.trunk.wte(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache is None:
            use_cache = past_key_values is not None or (self.config.use_cache and not self.training)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        mask = _added(attention_mask, embeds, 0 if past_key_values is None else past_key_values.get_seq_length())
        out = self.trunk(
            inputs_embeds=embeds, past_key_values=past_key_values, attention_mask=attention_mask,
            position_ids=position_ids, use_cache=use_cache, **options,
        )  # fmt: skip
        query, key = self.contextualization.project(out.last_hidden_state)
        senses = self.senses(embeds, input_ids)
        if past_key_values is not None:
            key, senses = self._remembered(past_key_values, key, senses)
        weights = self.contextualization(query, key, mask)
        return BackpackOutput(
            last_hidden_state=weighted(weights, senses), contextualization=weights,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=out.hidden_states, attentions=out.attentions,
        )  # fmt: skip

    def _remembered(self, cache: Cache, key: Tensor, senses: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, k, S, d / k) and senses (B, S, k, d), those of earlier tokens before the new ones.

        They have a layer of their own after the trunk's, so whatever selects, repeats, reorders or crops a cache does
        the same to them.
        """
        depth = self.config.n_layer
        if len(cache.layers) == depth:  # made from the config by `generate`, which counts the trunk's layers only
            cache.layers.append(DynamicLayer())
        key, values = cache.update(key, senses.flatten(2)[:, None], depth)
        return key, values[:, 0].unflatten(-1, senses.shape[2:])


def weighted(weights: Tensor, senses: Tensor) -> Tensor:
    """Σ over senses and earlier positions: (B, T, d), from weights (B, k, T, S) and senses (B, S, k, d).

    One product whose inner dimension is both sums, so that no term is ever stored.
    """
    return weights.permute(0, 2, 3, 1).flatten(2) @ senses.flatten(1, 2)


def _added(mask: Tensor | None, embeds: Tensor, past: int) -> Tensor | None:
    """What is added to the scores so that a token sees itself and earlier ones but no padding; None: it sees all."""
    if mask is not None and mask.ndim == 4:
        return mask
    length = embeds.shape[1]
    if mask is None and length == 1:
        return None
    places = torch.arange(past + length, device=embeds.device)
    seen = places <= places[past:, None]
    if mask is not None:
        seen = seen & mask.bool()[:, None, None, :]
    # Finite, so that padding, which sees nothing, is not NaN.
    return torch.zeros(seen.shape, dtype=embeds.dtype, device=embeds.device).masked_fill_(
        ~seen, torch.finfo(embeds.dtype).min
    )


class BackpackForCausalLM(BackpackPreTrainedModel, GenerationMixin):
    """A Backpack that reads its sums out by the word embeddings; with no norm between, logits are linear in c."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "transformer.trunk.wte.weight"}

    def __init__(self, config: BackpackConfig) -> None:
        super().__init__(config)
        self.transformer = BackpackModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **options: Any,
    ) -> BackpackOutput:
        """As `BackpackModel.forward`, and the logits of positions `logits_to_keep` (the last so many; 0: all)."""
        # Its parameters are named again, since `generate` reads from this signature what it may hand over.
        out = self.transformer(
            input_ids, past_key_values=past_key_values, attention_mask=attention_mask, position_ids=position_ids,
            inputs_embeds=inputs_embeds, use_cache=use_cache, **options,
        )  # fmt: skip
        out.logits = self.lm_head(slice_logits_to_keep(out.last_hidden_state, logits_to_keep))
        if labels is not None:
            out.loss = self.loss_function(out.logits, labels, vocab_size=self.config.vocab_size)
        return out

    def sense_vectors(self, ids: Tensor) -> Tensor:
        """(..., k, d): the sense vectors of token ids of any shape."""
        return self.transformer.senses(self.transformer.trunk.wte(ids), ids)

    def cache_senses(self, dtype: torch.dtype | None = None, chunk: int = 4096) -> None:
        """Tabulate the sense vectors of the whole vocabulary, V * k * d numbers of `dtype` (by default the weights').

        Forward passes then look them up. The table is dropped as soon as a weight it depends on changes or the model
        goes into training mode, and not used where gradients of such a weight are wanted.
        """
        self.transformer.senses.tabulate(self.transformer.trunk.wte, dtype, chunk)
