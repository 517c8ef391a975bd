"""Sense vectors: what a word means, in k vectors, whatever it stands beside. And a table of them for every word.

Knows embeddings, the network that turns one into senses, and when a table of its results may stand in for it; knows
nothing of positions, contexts or logits.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers.activations import ACT2FN
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP
from transformers.pytorch_utils import Conv1D

from errata.errors import BadConfig
from errata.models.backpack.config import BackpackConfig


class SenseBlock(nn.Module):
    """A GPT-2 block without attention: the residual stream takes in its own norm, then an MLP's output."""

    def __init__(self, config: BackpackConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(4 * config.n_embd, config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        residual = residual + self.dropout(hidden)
        residual = residual + self.dropout(self.mlp(self.ln_1(residual)))
        return self.ln_2(residual)


class SenseMLP(nn.Module):
    """The last step: from one vector of width d to k of them, side by side."""

    def __init__(self, config: BackpackConfig) -> None:
        super().__init__()
        inner = config.sense_intermediate_scale * config.n_embd
        self.c_fc = Conv1D(inner, config.n_embd)
        self.act = ACT2FN[config.activation_function]
        self.c_proj = Conv1D(config.num_senses * config.n_embd, inner)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.act(self.c_fc(hidden))))


class Senses(nn.Module):
    """c(x): from embeddings without positions, (..., d), to sense vectors, (..., k, d).

    A forward hook on it sees and may change the sense vectors of every token, tabulated or not; its arguments are the
    embeddings and the token ids (None where the model was given embeddings only).
    """

    def __init__(self, config: BackpackConfig) -> None:
        super().__init__()
        self.shape = (config.num_senses, config.n_embd)
        self.dropout = nn.Dropout(config.embd_pdrop)
        self.ln = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.block = SenseBlock(config)
        self.mlp = SenseMLP(config)
        self._table: Table | None = None

    def forward(self, embeddings: Tensor, ids: Tensor | None = None) -> Tensor:
        if ids is not None and self.tabulated():
            assert self._table is not None
            return embedding(ids, self._table.rows).to(embeddings.dtype).unflatten(-1, self.shape)
        return self.computed(embeddings)

    def computed(self, embeddings: Tensor) -> Tensor:
        """The senses by the network, never from the table."""
        residual = self.dropout(embeddings)
        hidden = self.block(self.ln(residual), residual)
        return self.mlp(hidden).unflatten(-1, self.shape)

    @torch.no_grad()
    def tabulate(self, words: nn.Embedding, dtype: torch.dtype | None = None, chunk: int = 4096) -> None:
        """Compute the senses of every row of `words` once, `chunk` rows at a time, kept in `dtype` (the weights' own).

        Raises:
            BadConfig: the model is in training mode, where senses are a matter of dropout.
        """
        if self.training:
            raise BadConfig("senses cannot be tabulated in training mode; call eval() on the model first")
        self._table = None
        weight = words.weight
        width = self.shape[0] * self.shape[1]
        rows = torch.empty(len(weight), width, dtype=dtype or weight.dtype, device=weight.device)
        for start in range(0, len(weight), chunk):
            rows[start : start + chunk] = self.computed(weight[start : start + chunk]).flatten(-2)
        self._table = Table(rows, words, self)

    def tabulated(self) -> bool:
        """Whether the table exists and holds what the network would give; one that no longer does is dropped."""
        if self._table is not None and (self.training or not self._table.holds(self)):
            self._table = None
        return self._table is not None and not self._table.in_the_way(self)

    def train(self, mode: bool = True) -> Senses:
        """Drops the table when training begins."""
        if mode:
            self._table = None
        return super().train(mode)


class Table:
    """The senses of every word, (V, k * d), and the parameters that they were computed from."""

    def __init__(self, rows: Tensor, words: nn.Embedding, senses: Senses) -> None:
        self.rows, self.words = rows, words
        self._state = _state(self._parameters(senses))
        self._held = list(self._parameters(senses))  # nothing else may take their ids

    def _parameters(self, senses: Senses) -> Iterable[Tensor]:
        yield self.words.weight
        yield from senses.parameters()

    def holds(self, senses: Senses) -> bool:
        """Whether the parameters are the same objects with the same contents."""
        return _state(self._parameters(senses)) == self._state

    def in_the_way(self, senses: Senses) -> bool:
        """Whether somebody wants what a table does not give: gradients of the parameters, or hooks called inside."""
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self._parameters(senses)):
            return True
        inner = (self.words, *(module for module in senses.modules() if module is not senses))
        return any(module._forward_hooks or module._forward_pre_hooks for module in inner)


def _state(parameters: Iterable[Tensor]) -> list[tuple[int, int, int]]:
    """Changes with every write to a parameter, and when one is replaced or moved."""
    return [(id(parameter), parameter.data_ptr(), parameter._version) for parameter in parameters]
