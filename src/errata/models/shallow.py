"""A smaller network of a model's own class: the first blocks of each of its stacks, around its own embedding tables.

Knows transformers configs and state dicts. What such a network is good for is no concern here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from errata.errors import BadModel
from errata.models.arch import Arch

if TYPE_CHECKING:
    from errata.models.editable import EditableModel

# How configs call the depth of a stack.
_DEPTHS = (
    "num_layers", "num_decoder_layers", "num_hidden_layers", "encoder_layers", "decoder_layers", "n_layer", "n_layers",
)  # fmt: skip


def shallow(model: EditableModel, blocks: int) -> PreTrainedModel:
    """A float32 copy of the model without the blocks above the first `blocks` of each stack, in eval mode.

    Its tables of input and output embeddings are the model's own and not to be trained; everything else is a copy.
    A stack that is not deeper is copied whole.

    Raises:
        BadModel: the model's config does not say how deep it is.
    """
    config = copy.deepcopy(model.model.config)
    for name in _DEPTHS:
        if name in config.to_dict():
            setattr(config, name, min(getattr(config, name), blocks))
    with torch.random.fork_rng(devices=[]):  # weights are drawn, though none of them stays
        network = type(model.model)(config).float().eval()
    cast(nn.Module, network).to(model.device)
    if len(Arch.of(network)) > blocks * (2 if config.is_encoder_decoder else 1):
        raise BadModel(f"cannot make a {type(network).__name__} of {blocks} blocks; its config has another depth")
    state = model.model.state_dict()
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    held: dict[int, nn.Parameter] = {}
    for name in tables(model.model) & network.state_dict().keys():
        table = state[name].detach()
        shared = held.setdefault(table.data_ptr(), nn.Parameter(table.float(), requires_grad=False))
        holder, _, last = name.rpartition(".")
        network.get_submodule(holder).register_parameter(last, shared)
    return network


def tables(network: PreTrainedModel) -> set[str]:
    """Names of the embedding tables, of input and output, in a network's state dict; tied ones under every name."""
    ends = (network.get_input_embeddings(), network.get_output_embeddings())
    held = {id(end.get_parameter("weight")) for end in ends if end is not None}
    return {name for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in held}


def own(network: PreTrainedModel, below: str = "") -> dict[str, Tensor]:
    """What such a network does not share with its model, under modules whose path begins with `below`; detached."""
    shared = tables(network)
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith(below) and name not in shared}


def fill(network: PreTrainedModel, tensors: Mapping[str, Tensor], below: str = "") -> None:
    """Inverse of `own`, in place.

    Raises:
        BadModel: they belong to a network of another shape.
    """
    known = own(network, below)
    if {name: one.shape for name, one in known.items()} != {name: one.shape for name, one in tensors.items()}:
        raise BadModel(f"these are not the weights of a {type(network).__name__} of this size")
    network.load_state_dict(tensors, strict=False)
