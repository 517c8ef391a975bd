"""The small models of ensembles: found by name or in memory, checked, and left alone from then on.

Knows models, names and fingerprints. What a small model is asked, and by whom, is no concern here.
"""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING

import torch

from errata.errors import BadModel, ErrataError, WrongModel
from errata.patches.original import patches_off

if TYPE_CHECKING:
    from errata.models import EditableModel

# Those in use, by fingerprint and device: many patches of a sheet have one small model, and it is loaded once.
_IN_USE: weakref.WeakValueDictionary[tuple[str, str], EditableModel] = weakref.WeakValueDictionary()


def lent(model: EditableModel) -> tuple[EditableModel, str]:
    """A copy of a model in memory, without its patches, that nobody else changes; and its fingerprint.

    `small_model` finds it while it lives.
    """
    with patches_off(model):
        fingerprint = model.fingerprint()
        if found := _IN_USE.get((fingerprint, str(model.device))):
            return found, fingerprint
        own = copy.copy(model)
        own.model = copy.deepcopy(model.model)
        own.notes = []
    return _kept(own, fingerprint), fingerprint


def small_model(name: str, fingerprint: str, device: torch.device) -> EditableModel:
    """The model with this fingerprint, on a device: one that is in use, or loaded by its name.

    Raises:
        BadModel: it cannot be loaded, or does not write text.
        WrongModel: what has this name now is another model.
    """
    if found := _IN_USE.get((fingerprint, str(device))):
        return found
    model = _loaded(name, device)
    if (now := model.fingerprint()) != fingerprint:
        raise WrongModel(
            f"the ensemble was made with a small model {name} of fingerprint {fingerprint[:12]}, and {name} is "
            f"{now[:12]} now; put that model back, or edit anew"
        )
    return _kept(model, fingerprint)


def _loaded(name: str, device: torch.device) -> EditableModel:
    from errata.models import EditableModel

    try:
        return causal(EditableModel.load(name, device=device))
    except ErrataError as error:
        raise BadModel(f"the small model of the ensemble cannot be used: {error}") from error


def causal(model: EditableModel) -> EditableModel:
    """The model itself. Raises BadModel: it is not causal."""
    if model.task != "causal":
        raise BadModel(f"{model.name} is {model.task}; an ensemble is made of causal models")
    return model


def _kept(model: EditableModel, fingerprint: str) -> EditableModel:
    model.model.eval().requires_grad_(False)
    _IN_USE[fingerprint, str(model.device)] = model
    return model
