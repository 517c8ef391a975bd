"""Running only what a value at a layer can change: the blocks above it, from its own column on.

Knows blocks and the model's own forward, which it calls with the lower blocks swapped for stand-ins. Masks,
position biases, final norm, head, soft-capping and scaling are thus the model's own on every architecture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.modeling_outputs import BaseModelOutput

from errata.models.hooks import hidden_of, with_hidden

if TYPE_CHECKING:
    from errata.models.editable import EditableModel
    from errata.models.encoding import Batch

Resume = Callable[..., torch.Tensor]


class _Relay:
    """What all stand-ins of one stack return."""

    output: Any = None


class _StandIn(nn.Module):
    """Computes nothing. Attributes that a model's forward reads off its blocks are still the block's own."""

    def __init__(self, block: nn.Module, relay: _Relay) -> None:
        super().__init__()
        self.__dict__["block"] = block  # not a submodule: nobody may find the block twice
        self.relay = relay

    def forward(self, *_args: Any, **_options: Any) -> Any:
        return self.relay.output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["block"], name)


class Prefix:
    """One batch, computed up to the output of block `layer`.

    Attributes:
        hidden: (B, T - start, d), the output of the block with every hook on it applied, detached; (B, S, d) for a
            decoder block of an encoder-decoder.
        start: columns left out. What stands before them reaches a causal model through its key-value cache.
    """

    hidden: torch.Tensor
    start: int

    def __init__(self, model: EditableModel, batch: Batch, layer: int, start: int = 0) -> None:
        """Run the model once, without gradients and dropout, skipping the blocks above `layer`.

        `start` asks for the columns from there on only, where nothing before them is going to change; a model that
        is not causal, or keeps another kind of cache, has them all.
        """
        self.model = model
        self.batch = batch
        self.layer = model.layer_of(layer)
        stack = model.arch.stack(self.layer)
        self._below = range(stack.start, self.layer + 1)
        self._relay = _Relay()
        self._installed = False
        self._encoded: torch.Tensor | None = None
        self._inputs = model.inputs(batch)
        self._past = self._read(start) if start and model.task == "causal" else None
        self.start = 0 if self._past is None else start
        if self._past is not None:
            self._inputs = _columns(self._inputs, slice(start, None))
        self._record(range(self.layer + 1, stack.stop))

    def resume(
        self, hidden: torch.Tensor, rows: torch.Tensor | None = None, keep: int | None = None
    ) -> torch.Tensor:
        """Logits as if block `layer` had returned `hidden`, (B, T - start, d); gradients flow into `hidden`.

        With `rows` (long or bool index) `hidden` holds those rows of the batch only, and so do the logits.
        `keep` asks for the logits of the last positions alone, as in `EditableModel.forward`. Call it within
        `EditableModel.preserved()`: it leaves the model's mode and its trainable parameters as they are.
        """
        if self._installed:
            return self._resume(hidden, rows, keep)
        with self.suffix() as resume:
            return resume(hidden, rows, keep)

    @contextmanager
    def suffix(self) -> Iterator[Resume]:
        """Keep the stand-ins in place for many calls of `resume`; leave the model alone otherwise."""
        with _standing_in(self.model, self._below, self._relay):
            self._installed = True
            try:
                yield self._resume
            finally:
                self._installed = False
                self._relay.output = None

    def _resume(
        self, hidden: torch.Tensor, rows: torch.Tensor | None = None, keep: int | None = None
    ) -> torch.Tensor:
        inputs, encoded, output = self._inputs, self._encoded, self._output
        past = self._before(rows)
        if rows is not None:
            inputs = {name: tensor[rows] for name, tensor in inputs.items()}
            encoded = None if encoded is None else encoded[rows]
            output = self._rows_of(output, rows)
        if encoded is not None:  # above a decoder block nothing of the encoder changes
            inputs = {**inputs, "encoder_outputs": BaseModelOutput(last_hidden_state=encoded)}
        self._relay.output = with_hidden(output, hidden)
        return self.model.logits(inputs | past, keep)

    @torch.no_grad()
    def _read(self, start: int) -> DynamicCache | None:
        """What every block makes of the columns before `start`."""
        inputs = _columns(self._inputs, slice(start))
        inputs["attention_mask"] = inputs["attention_mask"][:, :start]
        with self.model.evaluating():
            past = self.model.run(inputs, cached=True, keep=1).get("past_key_values")
        plain = isinstance(past, DynamicCache) and all(isinstance(layer, DynamicLayer) for layer in past.layers)
        return past if plain else None  # a recurrent layer has no columns to look back at

    def _before(self, rows: torch.Tensor | None) -> dict[str, DynamicCache]:
        """A cache to be written on, of these rows; blocks that stand-ins replace only ask how long it is."""
        if self._past is None:
            return {}
        past = copy.copy(self._past)
        past.layers = [copy.copy(layer) for layer in self._past.layers]
        if rows is not None:
            for layer in past.layers[self.layer + 1 :]:
                cast(DynamicLayer, layer).batch_select_indices(rows)
        return {"past_key_values": past}

    def _record(self, above: Iterable[int]) -> None:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            self._relay.output = output

        # Registered last, so it sees what earlier hooks on the block (an attached patch) made of the output.
        handle = self.model.block(self.layer).register_forward_hook(hook)
        try:
            with torch.no_grad(), self.model.evaluating(), _standing_in(self.model, above, self._relay):
                out = self.model.run(self._inputs | self._before(None), keep=1)
        finally:
            handle.remove()
        self._output, self._relay.output = self._relay.output, None
        self.hidden = hidden_of(self._output)
        if self.model.task == "seq2seq" and self.model.arch.causal(self.layer):
            self._encoded = out.encoder_last_hidden_state

    def _rows_of(self, output: Any, rows: torch.Tensor) -> Any:
        """What rides along with the hidden state (T5's position biases) may be common or per row."""
        if not isinstance(output, tuple):
            return output
        size = len(self.batch)
        return tuple(
            part[rows] if isinstance(part, torch.Tensor) and part.shape[:1] == (size,) else part
            for part in output
        )


def _columns(inputs: dict[str, Any], chosen: slice) -> dict[str, Any]:
    """What a causal model reads at these columns; the mask goes on covering all."""
    return {name: tensor if name == "attention_mask" else tensor[:, chosen] for name, tensor in inputs.items()}


@contextmanager
def _standing_in(model: EditableModel, layers: Iterable[int], relay: _Relay) -> Iterator[None]:
    originals: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for layer in layers:
            path, _, position = model.arch.blocks[layer].rpartition(".")
            parent = model.model.get_submodule(path)
            block = parent.get_submodule(position)
            setattr(parent, position, _StandIn(block, relay))
            originals.append((parent, position, block))
        yield
    finally:
        for parent, position, block in originals:
            setattr(parent, position, block)
