"""Which method serves when none is named: a rule by what is asked, the model's task and its chat template.

    answers in a conversation            scoped: answers every wording of the question, in any conversation
    plain text, a model of the lab       chain: answers other wordings, at a calibrated block
    plain text, any other causal model   scoped: answers other wordings of the sentence; grace for a model whose way
                                         from its last block to its logits is not understood
    encoder-decoders and classifiers     grace
    canonical examples                   sense for a Backpack, else ft-full

Knows edits and models. It runs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from errata.edits import Edit
from errata.errors import BadConfig, WrongModel, did_you_mean
from errata.methods._base import METHODS, Method, create
from errata.models import EditableModel
from errata.models.readout import Readout
from errata.prompts import Conversation
from errata.registry import LAB_PREFIX

AUTO = "auto"
CANDIDATES = ("scoped", "chain", "grace", "sense", "ft-full")


def make_method(name: str, options: Mapping[str, Any], model: EditableModel, edits: Sequence[Edit]) -> Method:
    """Return the method called `name` with its options; for "auto", the one that serves these edits of this model.

    Raises:
        UnknownName: no such method.
        BadConfig: an option that the method does not have.
    """
    return create(choose_method(model, edits) if name == AUTO else name, options)


def choose_method(model: EditableModel, edits: Sequence[Edit]) -> str:
    """Return the name of the method that serves these edits, by the rule above."""
    if any(edit.goal is not None for edit in edits):
        return "sense" if type(model.model).__name__.startswith("Backpack") else "ft-full"
    if model.task != "causal":
        return "grace"
    if all(isinstance(edit.prompt, Conversation) for edit in edits):
        return "scoped"
    if model.name.startswith(LAB_PREFIX):
        return "chain"
    try:
        Readout.of(model)
    except WrongModel:
        return "grace"
    return "scoped"


def check_name(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a wrong name or option before anything is loaded; of "auto", options that no method has.

    Raises:
        UnknownName: no such method.
        BadConfig: no such option.
    """
    if name != AUTO:
        create(name, options)
        return
    known = option_names(AUTO)
    if odd := next((one for one in options if one.replace("-", "_") not in known), None):
        hint = did_you_mean(odd, known)
        raise BadConfig(f"unknown option '{odd}'.{hint} Methods that auto chooses among have: {', '.join(known)}")
    if options:
        fitting = [one for one in CANDIDATES if {o.replace("-", "_") for o in options} <= set(option_names(one))]
        create(fitting[0] if fitting else CANDIDATES[0], options)


def option_names(name: str) -> list[str]:
    """Return the options of a method; of "auto", those of all methods that it may choose. Raises: UnknownName."""
    methods = CANDIDATES if name == AUTO else (name,)
    found = [item.name for one in methods for item in dataclasses.fields(METHODS.get(one).Config)]
    return list(dict.fromkeys(found))


def describe_method(maker: Method, model: EditableModel) -> str:
    """Return one line that says which method edits, and where."""
    config = maker.settled(model)
    layer, encoder = getattr(config, "layer", None), getattr(config, "encoder", None)
    at = f" at block {layer} of {len(model.arch)}" if isinstance(layer, int) else ""
    return f"method {maker.name}{at}" + (f", scope by {encoder} (calibrated)" if encoder else "")
