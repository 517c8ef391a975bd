"""What every patch is: attach, detach, describe, take edits out, and the header and tensors a file keeps.

Knows models as something to attach to. It does not know what a patch changes or which method made it.
"""

from __future__ import annotations

import itertools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from errata.errors import BadPatch, ErrataError

if TYPE_CHECKING:
    from errata.models import EditableModel

_APPENDED = itertools.count()

# State of a model, not of a process: what is in force on each.
_IN_FORCE: weakref.WeakKeyDictionary[nn.Module, list[Patch]] = weakref.WeakKeyDictionary()


def in_force(model: EditableModel) -> list[Patch]:
    """Every patch attached to the model, of whatever kind, in order."""
    return sorted(_IN_FORCE.get(model.model, ()), key=lambda patch: patch.order or 0)


class Inseparable(ErrataError):
    """Some edits of a patch cannot be taken out alone: they were solved together."""


class Patch(ABC):
    """The change that a list of edits left.

    Attributes:
        kind: "weights", "codebook", "adaptor", "router", "senses", "logits", "residual", "scoped", "conditional" or
            "note".
        method: name of the method that made it.
        config: that method's options, as JSON.
        edits: ids of the edits it answers, in order.
        repeats: ids of edits of earlier patches that were trained again into this one (replay). When one of them is
            undone this patch has to be fitted again without it.
        order: its place among the patches of a model, lower first. None until it is known: the first `attach` then
            puts it after everything attached so far.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
    ) -> None:
        if len(set(edits)) != len(edits):
            raise BadPatch("a patch names one edit twice; give every edit an id of its own")
        self.method = method
        self.config = dict(config)
        self.edits = tuple(edits)
        self.order = order
        self.repeats: frozenset[str] = frozenset()
        self._models: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    @property
    def attached(self) -> bool:
        """Whether it is in force on any model."""
        return len(self._models) > 0

    def attached_to(self, model: EditableModel) -> bool:
        """Whether it is in force on this model."""
        return model.model in self._models

    def attach(self, model: EditableModel) -> None:
        """Put the patch in force at its place (`order`) among those attached; nothing if it already is.

        Raises:
            WrongModel: it does not fit the model's structure. The model is untouched then.
        """
        if self.attached_to(model):
            return
        if self.order is None:
            self.order = next(_APPENDED)
        self._attach(model)
        self._models.add(model.model)
        _IN_FORCE.setdefault(model.model, []).append(self)

    def detach(self, model: EditableModel) -> None:
        """Take it off: the model is what the other attached patches make it, bit for bit. Nothing if it is not on."""
        if self.attached_to(model):
            self._detach(model)
            self._models.discard(model.model)
            _IN_FORCE[model.model] = [patch for patch in _IN_FORCE[model.model] if patch is not self]

    def without(self, ids: Collection[str]) -> Patch | None:
        """The patch as if the edits `ids` had never been part of it; None if no edit is left.

        The result is a patch of its own at the same place; it is not attached.

        Raises:
            Inseparable: some edits go and some stay, but all were solved together.
        """
        kept = tuple(edit for edit in self.edits if edit not in ids)
        if len(kept) == len(self.edits):
            return self
        return self._only(kept) if kept else None

    @property
    def slot(self) -> tuple[Any, ...] | None:
        """Patches of equal slots make one patch in a stack, each extending the ones before; None stands alone."""
        return None

    def increment(self, previous: Patch | None) -> Patch:
        """What has to be kept of this patch when `previous`, which it extends, is kept already."""
        return self

    @property
    def once(self) -> frozenset[str]:
        """Names of what it brings that may be in force once only: the lowest such patch brings it, others do not."""
        return frozenset()

    @property
    def partial(self) -> bool:
        """Whether it leaves to another increment of its slot what all of them need."""
        return False

    def shell(self) -> Patch:
        """It without any edit: what partial increments of its slot need."""
        return self._only(())

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        """The patch that `increment` was taken of, given the same `previous`."""
        return increment

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> Patch:
        """The patch that the increments `parts`, all of one slot, make in this order."""
        whole = parts[0]
        for part in parts[1:]:
            whole = cls.extended(whole, part)
        return whole

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())

    def describe(self) -> dict[str, Any]:
        """A summary for people and logs, as JSON."""
        return {"kind": self.kind, "method": self.method, "edits": list(self.edits), "bytes": self.size}

    def header(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON: what `from_parts` needs besides them."""
        return {"kind": self.kind, "method": self.method, "config": self.config, "edits": list(self.edits)}

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All its numbers, by name."""

    @classmethod
    @abstractmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Patch:
        """Inverse of `header` and `tensors`.

        Raises:
            BadPatch: something is missing, or a shape or dtype is not what the header says.
        """

    @abstractmethod
    def _attach(self, model: EditableModel) -> None: ...

    @abstractmethod
    def _detach(self, model: EditableModel) -> None: ...

    @abstractmethod
    def _only(self, kept: tuple[str, ...]) -> Patch:
        """The patch of the edits `kept`: some of its edits, not all; none only where increments may be partial."""
