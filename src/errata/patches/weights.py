"""Weight patches: changes of parameters, stacked on a model in a fixed order and taken off without a trace.

Knows parameters by path and who changed them. Weights are written in place: every parameter stays the object it is,
so optimisers and other holders of it keep working.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from errata.edits import Edit
from errata.errors import BadModel, BadPatch, WrongModel
from errata.models.arch import Linear
from errata.models.hooks import as_matrix
from errata.patches.base import Inseparable, Patch
from errata.patches.deltas import FORMS, Delta, Dense, LowRank, Rows, smallest

if TYPE_CHECKING:
    from errata.models import EditableModel

__all__ = ["Dense", "LowRank", "Rows", "WeightPatch", "attached_patches", "parameter_view"]

ONCE = "once:"  # begins the names of memory that stands for what may be in force once only
_MEMORY = "memory:"  # begins the names of tensors that are no change of a parameter


def parameter_view(network: nn.Module, name: str) -> Tensor:
    """The parameter at a path such as "h.3.mlp.c_proj.weight", detached and sharing its storage.

    The weight of a linear module is (d_out, d_in) whichever way round it is stored, as in every patch.

    Raises:
        WrongModel: there is no such parameter.
    """
    path, _, leaf = name.rpartition(".")
    try:
        owner = network.get_submodule(path)
        parameter = owner.get_parameter(leaf)
    except AttributeError as error:
        raise WrongModel(f"the model has no parameter '{name}'; use the model the patch was made for") from error
    return as_matrix(owner) if leaf == "weight" and isinstance(owner, Linear) else parameter.detach()


class WeightPatch(Patch):
    """Changes of parameters: weight = cast(float32(original) + change + change ...), in the order of the patches.

    While a patch is attached, its parameters belong to the stack: detaching gives back the originals kept when the
    first patch was attached, so training done in between is lost on those parameters.

    Attributes:
        deltas: parameter path to its change.
        requests: prompts and targets of its edits, kept by methods that come back to them in later patches.
        memory: tensors by name that the method comes back to in later patches, such as the keys it edited; float32.
    """

    kind: ClassVar[str] = "weights"

    def __init__(
        self,
        deltas: Mapping[str, Delta],
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
        requests: Sequence[Edit] = (),
        repeats: Collection[str] = (),
        memory: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.deltas = dict(deltas)
        self.memory = {
            name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
            for name, tensor in (memory or {}).items()
        }
        self.requests = tuple(Edit(edit.prompt, edit.target, id=edit.id) for edit in requests)
        self.repeats = frozenset(repeats)

    @classmethod
    def from_difference(
        cls,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
        requests: Sequence[Edit] = (),
        repeats: Collection[str] = (),
    ) -> WeightPatch:
        """The patch that turns the parameters `before` into `after`, each in its smallest form.

        Both map a parameter's path to its values as `parameter_view` shows them, matrices as (d_out, d_in).
        Parameters that did not change are left out.

        Raises:
            BadPatch: names or shapes differ, or a change is not finite.
        """
        if before.keys() != after.keys():
            raise BadPatch("before and after must hold the same parameters")
        changes = {name: smallest(before[name], after[name]) for name in before}
        deltas = {name: delta for name, delta in changes.items() if delta is not None}
        return cls(
            deltas, method=method, config=config, edits=edits, order=order, requests=requests, repeats=repeats
        )

    def scaled(self, share: float) -> WeightPatch:
        """A patch of its own, not attached, on the line between the weights before and after: `share` of the way."""
        return WeightPatch(
            {name: delta.scaled(share) for name, delta in self.deltas.items()}, method=self.method, config=self.config,
            edits=self.edits, order=self.order, requests=self.requests, repeats=self.repeats, memory=self.memory,
        )  # fmt: skip

    @property
    def once(self) -> frozenset[str]:
        return frozenset(name for name in self.memory if name.startswith(ONCE))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "parameters": {name: delta.form for name, delta in self.deltas.items()}}

    def header(self) -> dict[str, Any]:
        told: dict[str, Any] = {"parameters": {name: delta.form for name, delta in self.deltas.items()}}
        if self.requests:
            told["requests"] = [edit.to_json() for edit in self.requests]
        if self.repeats:
            told["repeats"] = sorted(self.repeats)
        return {**super().header(), **told}

    def tensors(self) -> dict[str, Tensor]:
        changes = {
            f"{name}:{part}": tensor for name, delta in self.deltas.items() for part, tensor in delta.tensors().items()
        }
        return changes | {_MEMORY + name: tensor for name, tensor in self.memory.items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> WeightPatch:
        forms: Mapping[str, str] = header["parameters"]
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in forms}
        memory = {key.removeprefix(_MEMORY): tensor for key, tensor in tensors.items() if key.startswith(_MEMORY)}
        for key, tensor in tensors.items():
            if key.startswith(_MEMORY):
                continue
            name, _, part = key.rpartition(":")
            if name not in parts:
                raise BadPatch(f"tensor '{key}' belongs to no parameter of the patch; the file is damaged")
            parts[name][part] = tensor
        if unknown := set(forms.values()) - FORMS.keys():
            raise BadPatch(f"unknown form of change '{min(unknown)}'; update errata")
        deltas = {name: FORMS[form].of(parts[name]) for name, form in forms.items()}
        return cls(
            deltas,
            method=header["method"],
            config=header["config"],
            edits=header["edits"],
            requests=[Edit.from_json(told) for told in header.get("requests", ())],
            repeats=header.get("repeats", ()),
            memory=memory,
        )

    def _only(self, kept: tuple[str, ...]) -> Patch:
        raise Inseparable(
            f"the {len(self.edits)} edits of this '{self.method}' patch were solved together; "
            "undo all of them, then apply the ones to keep again"
        )

    def _attach(self, model: EditableModel) -> None:
        network = model.model
        changes = self._resolved(network)
        ledger = _ledger(network)
        assert self.order is not None
        try:
            for name, delta in changes.items():
                view = parameter_view(network, name)
                ledger.setdefault(name, _Slot(view)).add(view, self.order, self, delta)
        except BaseException:
            self._detach(model)
            raise

    def _detach(self, model: EditableModel) -> None:
        ledger = _ledger(model.model)
        for name, slot in list(ledger.items()):
            if slot.remove(parameter_view(model.model, name), self):
                del ledger[name]

    def _resolved(self, network: nn.Module) -> dict[str, Delta]:
        """The changes under the first name of each parameter: one that goes by two names is changed once."""
        first = {id(parameter): name for name, parameter in network.named_parameters()}
        found: dict[str, Delta] = {}
        for name, delta in self.deltas.items():
            view = parameter_view(network, name)
            if not view.is_floating_point() or view.is_meta:
                raise BadModel(f"parameter '{name}' is quantised or not in memory; load the model in full precision")
            if not delta.fits(view.shape):
                raise WrongModel(
                    f"the change of '{name}' does not fit its shape {tuple(view.shape)}; "
                    "attach the patch to the model it was made for"
                )
            canonical = first[id(network.get_parameter(name))]
            if canonical in found and not _equal(found[canonical], delta):
                raise BadPatch(f"'{canonical}' and '{name}' are one shared parameter but change differently")
            found[canonical] = delta
        return found


def attached_patches(model: EditableModel) -> list[WeightPatch]:
    """The weight patches in force on a model, in order."""
    found = {id(patch): (order, patch) for slot in _ledger(model.model).values() for order, patch, _ in slot.changes}
    return [patch for _, patch in sorted(found.values(), key=lambda one: one[0])]


@contextmanager
def weights_without(model: EditableModel, off: Collection[WeightPatch]) -> Iterator[None]:
    """Inside, the weights are what the attached patches make them without `off`; then they have their bits again.

    Cheaper than detaching many patches: each parameter is folded once. Attach and detach nothing inside.
    """
    out = {id(patch) for patch in off}
    slots = {name: slot for name, slot in _ledger(model.model).items() if slot.holds(out)}
    views = {name: parameter_view(model.model, name) for name in slots}
    now = {name: view.clone() for name, view in views.items()}
    try:
        for name, slot in slots.items():
            slot.show_without(views[name], out)
        yield
    finally:
        with torch.no_grad():
            for name, view in views.items():
                view.copy_(now[name])


def _equal(one: Delta, other: Delta) -> bool:
    first, second = one.tensors(), other.tensors()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


_MANY = 16
"""Changes on a parameter from which on the sum below the last one is kept: a patch is often tried and taken off."""


class _Slot:
    """One parameter under patches: its original and the changes on it, by the order of their patches."""

    def __init__(self, view: Tensor) -> None:
        self.original = view.clone()
        self.changes: list[tuple[int, WeightPatch, Delta]] = []
        exact = view.dtype in (torch.float32, torch.float64)
        # The running sum; a float32 parameter is its own.
        self.total: Tensor | None = None if exact else view.float()
        self.under: Tensor | None = None  # the sum without the last change, kept where there are many below it

    @torch.no_grad()
    def add(self, view: Tensor, order: int, patch: WeightPatch, delta: Delta) -> None:
        place = bisect_right(self.changes, order, key=lambda change: change[0])
        on_top = place == len(self.changes) >= _MANY
        self.under = (view if self.total is None else self.total).clone() if on_top else None
        self.changes.insert(place, (order, patch, delta))
        if place < len(self.changes) - 1:
            self._fold(view)
        elif self.total is None:
            delta.add_to(view)
        else:
            delta.add_to(self.total)
            view.copy_(self.total)

    @torch.no_grad()
    def remove(self, view: Tensor, patch: WeightPatch) -> bool:
        """Whether no change is left: the parameter then has its original bits and the slot has served."""
        kept = [change for change in self.changes if change[1] is not patch]
        if len(kept) < len(self.changes):
            top = self.changes[-1][1] is patch
            self.changes = kept
            if top and self.under is not None:
                self._show(view, self.under)
            else:
                self._fold(view)
            self.under = None
        return not kept

    def holds(self, patches: Collection[int]) -> bool:
        """Whether one of these patches (by id()) changes the parameter."""
        return any(id(patch) in patches for _, patch, _ in self.changes)

    @torch.no_grad()
    def show_without(self, view: Tensor, out: Collection[int]) -> None:
        """Write the parameter as it is without the patches `out` (by id()); what is attached stays attached."""
        total = self.original.float() if self.total is not None else self.original.clone()
        for _, patch, delta in self.changes:
            if id(patch) not in out:
                delta.add_to(total)
        view.copy_(total)

    def _show(self, view: Tensor, total: Tensor) -> None:
        if self.total is not None:
            self.total.copy_(total)
        view.copy_(total)

    def _fold(self, view: Tensor) -> None:
        view.copy_(self.original)
        if self.total is not None:
            self.total.copy_(self.original)
        total = view if self.total is None else self.total
        for _, _, delta in self.changes:
            delta.add_to(total)
        if self.total is not None and self.changes:
            view.copy_(total)


_Ledger = dict[str, _Slot]

# State of a model, not of a process: two models, or two editors of different models, never share any of it.
_LEDGERS: weakref.WeakKeyDictionary[nn.Module, _Ledger] = weakref.WeakKeyDictionary()


def _ledger(network: nn.Module) -> _Ledger:
    return _LEDGERS.setdefault(network, {})
