"""Where a training stands, in one file that is whole or absent: to go on from there, bit for bit, with the same work.

Knows tensors, Adam's moments and JSON; no pickle. It does not know what is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from errata.durable import write_atomic
from errata.errors import BadConfig, BadPatch
from errata.plain import plain

NAME = "checkpoint.safetensors"
_KEY = "errata"  # of the header, in the metadata


@dataclass
class Checkpoint:
    """Where a training stands.

    Attributes:
        work: what is trained, as JSON: another checkpoint of equal work can be gone on from.
        step: optimiser steps taken.
        seconds: that they took, over all runs.
        curve: one row for every validation so far.
        now: the course's tensors.
        best: those of the validation with the lowest loss.
        adam: moments by parameter group entry and name.
    """

    work: Mapping[str, Any]
    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    now: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    adam: dict[str, Tensor] = field(default_factory=dict)

    def save(self, out: Path) -> None:
        parts = {"now": self.now, "best": self.best, "adam": self.adam}
        # Copies: what is now may be the best as well, and safetensors refuses tensors that share storage.
        tensors = {
            f"{part}/{name}": tensor.detach().cpu().clone().contiguous()
            for part, named in parts.items() for name, tensor in named.items()
        }  # fmt: skip
        header = {"work": self.work, "step": self.step, "seconds": self.seconds, "curve": self.curve}
        write_atomic(out / NAME, safetensors.torch.save(tensors, {_KEY: json.dumps(plain(header))}))

    @classmethod
    def load(cls, out: Path, work: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint in a directory, or a fresh one.

        Raises:
            BadConfig: what is there belongs to other work.
            BadPatch: it is damaged.
        """
        path = out / NAME
        if not path.is_file():
            return cls(work)
        data = path.read_bytes()
        try:
            told = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            header = json.loads(told["__metadata__"][_KEY])
            tensors = safetensors.torch.load(data)
        except (ValueError, KeyError, TypeError, OverflowError, SafetensorError) as error:
            raise BadPatch(f"{path} is damaged; delete it to train from the start") from error
        same_work(header["work"], work, f"{out} holds a training that was interrupted")
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "adam": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = tensor
        return cls(work, header["step"], header["seconds"], header["curve"], **parts)


def same_work(old: Mapping[str, Any], new: Mapping[str, Any], what: str) -> None:
    """Raises BadConfig where two descriptions of work differ, naming the first thing that does."""
    old, new = _flat(plain(old)), _flat(plain(new))
    for name in [*new, *old]:
        if old.get(name) != new.get(name):
            raise BadConfig(
                f"{what}, with another {name} ({_short(old.get(name))}, not {_short(new.get(name))}); give another "
                "directory, or delete this one"
            )


def adam_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of every parameter, by its number."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(one) for index, named in state.items() for name, one in named.items()}


def set_adam_state(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Inverse of `adam_state`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in moments.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flat(work: Mapping[str, Any]) -> dict[str, Any]:
    """Options and the like beside the rest, so that a message can name one of them."""
    found: dict[str, Any] = {}
    for name, value in work.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}…"
