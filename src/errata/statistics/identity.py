"""Which model it was before it was edited: the fingerprint of its weights with every patch off.

Knows models and the patches on them. Taking patches off and hashing gigabytes at every edit would cost more than the
edit, so the answer is kept with the model as long as the weights that no patch owns look the same.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping

import torch
from torch import nn

from errata.models import EditableModel
from errata.patches.original import patches_off
from errata.patches.weights import attached_patches

_SAMPLED = 64  # entries looked at in each parameter

# State of a model, not of a process: it dies with the model.
_KNOWN: weakref.WeakKeyDictionary[nn.Module, tuple[str, Mapping[str, bytes]]] = weakref.WeakKeyDictionary()


def original_fingerprint(model: EditableModel) -> str:
    """`EditableModel.fingerprint` of the model without its patches.

    It is computed again when weights were changed other than by patches: by training, say. A change by hand of a few
    entries may go unnoticed in a model that was asked before.
    """
    known = _KNOWN.get(model.model)
    if known is not None and _unchanged(model, known[1]):
        return known[0]
    with patches_off(model):
        fingerprint, samples = model.fingerprint(), _samples(model.model)
    _KNOWN[model.model] = (fingerprint, samples)
    return fingerprint


def _unchanged(model: EditableModel, before: Mapping[str, bytes]) -> bool:
    owned = {name for patch in attached_patches(model) for name in patch.deltas}
    now = _samples(model.model)
    return before.keys() == now.keys() and all(now[name] == before[name] for name in now if name not in owned)


@torch.no_grad()
def _samples(network: nn.Module) -> dict[str, bytes]:
    """A digest of evenly spaced entries of each parameter."""
    found = {}
    for name, weight in network.named_parameters():
        flat = weight.detach().flatten()
        step = max(1, len(flat) // _SAMPLED)
        taken = flat[::step].cpu().contiguous().view(torch.uint8).numpy()
        found[name] = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)}".encode() + taken.tobytes()).digest()
    return found
