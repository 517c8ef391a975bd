"""Adaptor patches: a learned gate at one block, and what takes a state's place where it opens (Defer, Memory).

Knows the formulas of gates and of answers, which training and inference share. How a running model is tapped is in
`sites`; how the numbers were found is no concern here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from errata.errors import BadPatch
from errata.patches.base import Inseparable, Patch
from errata.patches.search import Hits
from errata.patches.states import Firing, StatePatch

GATE = "gate."
ANSWER = "answer."


class _Part(ABC):
    """Tensors with a formula. All are float32; in training they carry gradients."""

    def tensors(self) -> dict[str, Tensor]:
        """What it is made of, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def of(cls, parts: Mapping[str, Tensor]) -> Self:
        """Inverse of `tensors`. Raises BadPatch if one is missing or not float32."""
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        if parts.keys() != names or any(tensor.dtype != torch.float32 for tensor in parts.values()):
            raise BadPatch(f"an adaptor needs the float32 tensors {', '.join(sorted(names))}; the file is damaged")
        return cls(**parts)

    def moved(self, device: torch.device | str) -> Self:
        """The same on a device, detached."""
        return type(self)(**{name: tensor.detach().to(device) for name, tensor in self.tensors().items()})

    @property
    @abstractmethod
    def width(self) -> int:
        """Size d of the states it takes; raises BadPatch if its shapes do not go together."""


@dataclass(frozen=True, eq=False)
class Gate(_Part):
    """Opens for a state x where weight . x + bias > 0, that is sigmoid > 0.5. weight (d,), bias ()."""

    weight: Tensor
    bias: Tensor

    def logits(self, states: Tensor) -> Tensor:
        """(N,) for states (N, d). The bits for a state do not depend on which others are asked with it."""
        return (states * self.weight).sum(-1) + self.bias

    @property
    def width(self) -> int:
        if self.weight.dim() != 1 or self.bias.dim() != 0:
            raise BadPatch("a gate needs a weight (d,) and a bias (); the file is damaged")
        return len(self.weight)


class Answer(_Part):
    """What a state becomes where the gate opens."""

    form: ClassVar[str]

    @abstractmethod
    def __call__(self, states: Tensor) -> Tensor:
        """(N, d) for states (N, d)."""


@dataclass(frozen=True, eq=False)
class Affine(Answer):
    """weight x + bias: weight (d, d), bias (d,)."""

    form: ClassVar[str] = "affine"
    weight: Tensor
    bias: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        return states @ self.weight.t() + self.bias

    @property
    def width(self) -> int:
        size = len(self.bias)
        if self.weight.shape != (size, size) or self.bias.dim() != 1:
            raise BadPatch("an affine answer needs a weight (d, d) and a bias (d,); the file is damaged")
        return size


@dataclass(frozen=True, eq=False)
class Slots(Answer):
    """softmax(address x + offset) values: a table of n values, read softly. address and values (n, d), offset (n,)."""

    form: ClassVar[str] = "slots"
    address: Tensor
    offset: Tensor
    values: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        return torch.softmax(states @ self.address.t() + self.offset, -1) @ self.values

    @property
    def width(self) -> int:
        size = (len(self.values),)
        if self.values.dim() != 2 or self.address.shape != self.values.shape or self.offset.shape != size:
            raise BadPatch("a table needs address and values (n, d) and an offset (n,); the file is damaged")
        return self.values.shape[1]


ANSWERS: dict[str, type[Answer]] = {kind.form: kind for kind in (Affine, Slots)}


class AdaptorPatch(StatePatch):
    """Where its gate opens, a state of block `layer` gives way to the answer; elsewhere it passes bit for bit.

    Attributes:
        gate, answer: on the CPU, in float32, whatever the model's dtype.
    """

    kind: ClassVar[str] = "adaptor"

    def __init__(
        self,
        layer: int,
        gate: Gate,
        answer: Answer,
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
    ) -> None:
        super().__init__(layer, method=method, config=config, edits=edits, order=order)
        self.gate, self.answer = gate.moved("cpu"), answer.moved("cpu")
        if gate.width != answer.width:
            raise BadPatch("gate and answer of an adaptor are for states of different width; the file is damaged")
        if not all(tensor.isfinite().all() for tensor in self.tensors().values()):
            raise BadPatch("an adaptor holds NaN or infinite values; lower the learning rate and edit again")
        self._placed: dict[torch.device, tuple[Gate, Answer]] = {}

    @property
    def width(self) -> int:
        return self.gate.width

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "layer": self.layer, "answer": self.answer.form}

    def header(self) -> dict[str, Any]:
        return {**super().header(), "layer": self.layer, "answer": self.answer.form}

    def tensors(self) -> dict[str, Tensor]:
        gate = {GATE + name: tensor for name, tensor in self.gate.tensors().items()}
        return gate | {ANSWER + name: tensor for name, tensor in self.answer.tensors().items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> AdaptorPatch:
        if header["answer"] not in ANSWERS:
            raise BadPatch(f"unknown form of adaptor '{header['answer']}'; update errata")
        parts = {GATE: {}, ANSWER: {}}
        for name, tensor in tensors.items():
            prefix = GATE if name.startswith(GATE) else ANSWER
            parts[prefix][name.removeprefix(prefix)] = tensor
        return cls(
            int(header["layer"]),
            Gate.of(parts[GATE]),
            ANSWERS[header["answer"]].of(parts[ANSWER]),
            method=header["method"],
            config=header["config"],
            edits=header["edits"],
        )

    def prepare(self, device: torch.device) -> None:
        self._on(device)

    def hits(self, states: Tensor) -> Hits | None:
        """The states (N, d) for which the gate opens; a "distance" is minus the gate's logit."""
        logits = self._on(states.device)[0].logits(states.detach().float())
        found = (logits > 0).nonzero()[:, 0]
        if not len(found):
            return None
        return Hits(found.cpu(), torch.zeros(len(found), dtype=torch.long), -logits[found].cpu())

    def replacements(self, states: Tensor, hits: Hits) -> Tensor:
        return self._on(states.device)[1](states.float())

    def firing(self, state: Tensor, row: int, distance: float, at: tuple[int, int]) -> Firing:
        """Edits of one call share the gate, so the first stands for all. It opens below 0: the radius."""
        return Firing(*at, self.edits[row], distance, 0.0, self.layer)

    def _on(self, device: torch.device) -> tuple[Gate, Answer]:
        if device not in self._placed:
            self._placed[device] = (self.gate.moved(device), self.answer.moved(device))
        return self._placed[device]

    def _only(self, kept: tuple[str, ...]) -> Patch:
        raise Inseparable(
            f"the {len(self.edits)} edits of this '{self.method}' patch share one gate and were trained together; "
            "undo all of them, then apply the ones to keep again"
        )
