"""Running only the blocks above a layer: the states below it do not change while a value at it is optimised.

Knows blocks and the model's own forward, which it calls with the lower blocks swapped for stand-ins. Masks,
position biases, final norm, head, soft-capping and scaling are thus the model's own on every architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
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
        hidden: (B, T, d), the output of the block with every hook on it applied, detached; (B, S, d) for a
            decoder block of an encoder-decoder.
    """

    hidden: torch.Tensor

    def __init__(self, model: EditableModel, batch: Batch, layer: int) -> None:
        """Run the model once, without gradients and dropout, skipping the blocks above `layer`."""
        self.model = model
        self.batch = batch
        self.layer = model.layer_of(layer)
        stack = model.arch.stack(self.layer)
        self._below = range(stack.start, self.layer + 1)
        self._relay = _Relay()
        self._installed = False
        self._encoded: torch.Tensor | None = None
        self._inputs = model.inputs(batch)
        self._record(range(self.layer + 1, stack.stop))

    def resume(
        self, hidden: torch.Tensor, rows: torch.Tensor | None = None, keep: int | None = None
    ) -> torch.Tensor:
        """Logits as if block `layer` had returned `hidden`, (B, T, d); gradients flow into `hidden`.

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
        if rows is not None:
            inputs = {name: tensor[rows] for name, tensor in inputs.items()}
            encoded = None if encoded is None else encoded[rows]
            output = self._rows_of(output, rows)
        if encoded is not None:  # above a decoder block nothing of the encoder changes
            inputs = {**inputs, "encoder_outputs": BaseModelOutput(last_hidden_state=encoded)}
        self._relay.output = with_hidden(output, hidden)
        return self.model.logits(inputs, keep)

    def _record(self, above: Iterable[int]) -> None:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            self._relay.output = output

        # Registered last, so it sees what earlier hooks on the block (an attached patch) made of the output.
        handle = self.model.block(self.layer).register_forward_hook(hook)
        try:
            with torch.no_grad(), self.model.evaluating(), _standing_in(self.model, above, self._relay):
                out = self.model.run(self._inputs, keep=1)
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
