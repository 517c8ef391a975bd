"""A second network around the same tensors: what attaches to the one leaves the other as it is.

Knows modules and tensors. What is attached to a twin, and which parameters that writes, is the caller's to say.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from errata.models.editable import EditableModel


def twin(model: EditableModel, own: Collection[str] = ()) -> EditableModel:
    """A model that shares every parameter and buffer with `model`, but for copies of the parameters at paths `own`.

    Hooks and notes on `model` are copied too. A parameter that goes by two names stays one.
    """
    network = model.model
    # Deep copying takes its memo for what is copied already.
    memo: dict[int, Tensor] = {id(buffer): buffer for buffer in network.buffers()}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if name in own:
            memo[id(parameter)] = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
        else:
            memo.setdefault(id(parameter), parameter)
    other = copy.copy(model)
    other.model = copy.deepcopy(network, memo)
    other.notes = list(model.notes)
    return other
