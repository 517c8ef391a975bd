"""From a state of the last block to the model's logits: what the model itself does after its blocks, found by watching.

Knows modules and tensors; no model class by name.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from errata.errors import WrongModel
from errata.models.hooks import hidden_of

if TYPE_CHECKING:
    from errata.models.editable import EditableModel

_KNOWN: weakref.WeakKeyDictionary[nn.Module, Readout] = weakref.WeakKeyDictionary()


class Readout:
    """The modules between the last block and the logits. It does not hold the model."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules = [weakref.ref(module) for module in modules]

    @classmethod
    def of(cls, model: EditableModel) -> Readout:
        """Return the readout of a causal model; found by running it on one token, and kept.

        Raises:
            WrongModel: what follows the last block is not one module after the other.
        """
        if model.model not in _KNOWN:
            _KNOWN[model.model] = _watch(model)
        return _KNOWN[model.model]

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """(n, V): logits of states (n, d) of the last block."""
        for held in self._modules:
            module = held()
            assert module is not None
            states = module(states)
        return states


@torch.no_grad()
def _watch(model: EditableModel) -> Readout:
    """Record which modules read, one after the other, what the last block wrote."""
    network, last = model.model, model.block(len(model.arch) - 1)
    passed: list[tuple[nn.Module, Any, Any]] = []
    handles = [
        module.register_forward_hook(lambda one, args, output: passed.append((one, args[0] if args else None, output)))
        for module in network.modules()
        if not list(module.children()) or module is last
    ]
    try:
        with model.evaluating():
            ids = torch.tensor([[model.pad_id or 0]], device=model.device)
            logits = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    finally:
        for handle in handles:
            handle.remove()
    after = next(place for place, one in enumerate(passed) if one[0] is last)
    chain, state = [], hidden_of(passed[after][2])
    for module, read, written in passed[after + 1 :]:
        # A slice of all positions is another tensor of the same memory.
        if isinstance(read, Tensor) and isinstance(written, Tensor) and read.data_ptr() == state.data_ptr():
            chain.append(module)
            state = written
    found = Readout(chain)
    own = found(cast(Tensor, hidden_of(passed[after][2]))[0])
    if own.shape != logits[0].shape or not torch.equal(own.argmax(-1), logits[0].argmax(-1)):
        raise WrongModel(f"the way from the last block of {model.name} to its logits is not understood")
    return found
