"""Residual patches: a matrix beside one MLP's down-projection that speaks for the tokens it knows (MEMOIR, WISE).

What the down-projection reads at a token decides alone whether the matrix speaks there and what it adds; elsewhere the
output passes bit for bit. Knows the matrix, its shares and its hook. How it is read is in `memories`; how shares were
found is no concern here.
"""

from __future__ import annotations

import weakref
from bisect import insort
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from errata.errors import BadConfig, BadPatch, WrongModel
from errata.models.arch import shape
from errata.patches.base import Inseparable, Patch
from errata.patches.memories import Memory, Rule, rule_of
from errata.patches.shares import Share

if TYPE_CHECKING:
    from errata.models import EditableModel

_RULE = "rule."


class ResidualPatch(Patch):
    """Adds to what the MLP of block `layer` writes, for tokens that its memory knows.

    Attributes:
        layer: index of the block.
        size_of: (d_out, d_in) of the matrix.
        shares: one a call, in order.
        rule: which memory they make.
    """

    kind: ClassVar[str] = "residual"

    def __init__(
        self,
        layer: int,
        size_of: tuple[int, int],
        shares: Sequence[Share],
        rule: Rule,
        *,
        method: str,
        config: Mapping[str, Any],
        order: int | None = None,
    ) -> None:
        edits = [edit for share in shares for edit in share.edits]
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.layer, self.size_of, self.shares, self.rule = layer, size_of, tuple(shares), rule
        self._memories: dict[torch.device, Memory] = {}

    @property
    def slot(self) -> tuple[Any, ...]:
        return (self.kind, self.method, self.layer, self.size_of, self.rule.key)

    @property
    def partial(self) -> bool:
        return self.rule.partial

    def memory(self, device: torch.device) -> Memory:
        """What the shares make, on a device."""
        if device not in self._memories:
            self._memories[device] = self.rule.memory(*self.size_of, device).grown(self.shares)
        return self._memories[device]

    def increment(self, previous: Patch | None) -> ResidualPatch:
        """The shares that `previous` lacks, and the rule without its tensors, which are kept with that."""
        if previous is None:
            return self
        known = set(previous.edits)
        return self._with([share for share in self.shares if not known & set(share.edits)], self.rule.elsewhere())

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        """`previous` with the shares of `increment` after its own. Raises: BadPatch, as `joined`."""
        if previous is None:
            return increment
        joined = cls.joined([previous, increment])
        if isinstance(previous, ResidualPatch) and isinstance(increment, ResidualPatch):
            joined._memories = {place: one.grown(increment.shares) for place, one in previous._memories.items()}
        return joined

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> ResidualPatch:
        """All their shares, read by the rule of the first that has it whole. Raises BadPatch: of different memories."""
        residuals = [part for part in parts if isinstance(part, ResidualPatch)]
        if len(residuals) < len(parts) or any(one.slot != residuals[0].slot for one in residuals):
            raise BadPatch("only residuals of one method, layer and rule make one memory; stack the patches instead")
        last = residuals[-1]
        rule = next((one.rule for one in residuals if not one.partial), last.rule)
        return last._with([share for one in residuals for share in one.shares], rule)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "layer": self.layer, "rule": self.rule.form, "calls": len(self.shares)}

    def header(self) -> dict[str, Any]:
        return {
            **super().header(), "layer": self.layer, "size_of": list(self.size_of), "rule": self.rule.header(),
            "shares": [share.told() for share in self.shares],
        }  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        found = {_RULE + name: tensor for name, tensor in self.rule.tensors().items()}
        for number, share in enumerate(self.shares):
            found |= {f"{number}.{name}": tensor for name, tensor in share.tensors().items()}
        return found

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ResidualPatch:
        told = header["shares"]
        parts: list[dict[str, Tensor]] = [{} for _ in told]
        rule: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            first, _, last = name.partition(".")
            (rule if name.startswith(_RULE) else parts[int(first)])[last] = tensor
        rows, width = map(int, header["size_of"])
        shares = [Share.from_parts(one, found) for one, found in zip(told, parts, strict=True)]
        for share in shares:
            share.check(rows, width)
        return cls(
            int(header["layer"]), (rows, width), shares, rule_of(header["rule"], rule),
            method=header["method"], config=header["config"],
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> ResidualPatch:
        chosen = set(kept)
        for share in self.shares:
            if 0 < len(chosen.intersection(share.edits)) < len(share.edits):
                raise Inseparable(
                    f"the {len(share.edits)} edits of a call of '{self.method}' were trained together; "
                    "undo all of them, then apply the ones to keep again"
                )
        return self._with([share for share in self.shares if chosen.issuperset(share.edits)], self.rule)

    def _with(self, shares: Sequence[Share], rule: Rule) -> ResidualPatch:
        return ResidualPatch(
            self.layer, self.size_of, shares, rule, method=self.method, config=self.config, order=self.order
        )

    def _attach(self, model: EditableModel) -> None:
        path = self._path(model)
        self.memory(model.device)  # the work is done here rather than in the first forward
        sites = _SITES.setdefault(model.model, {})
        if path not in sites:
            sites[path] = _Site(model.model.get_submodule(path))
        insort(sites[path].patches, self, key=lambda one: one.order or 0)

    def _detach(self, model: EditableModel) -> None:
        sites, path = _SITES[model.model], self._path(model)
        sites[path].patches = [one for one in sites[path].patches if one is not self]
        if not sites[path].patches:
            sites.pop(path).handle.remove()

    def _path(self, model: EditableModel) -> str:
        """Of the down-projection that it stands beside. Raises: WrongModel."""
        try:
            path = model.arch.matrix(self.layer, "mlp_down")
        except BadConfig as error:
            raise WrongModel(f"the residual stands beside a down-projection: {error}") from error
        size = shape(model.model.get_submodule(path))  # type: ignore[arg-type]
        if size != self.size_of:
            raise WrongModel(
                f"the residual stands beside a matrix {self.size_of}; that of block {self.layer} is {size} here: "
                "attach it to the model it was made for"
            )
        return path


class _Site:
    """The residuals beside one matrix of one model, in order, and the one hook that adds what they add."""

    def __init__(self, module: nn.Module) -> None:
        self.patches: list[ResidualPatch] = []
        # Before the hooks of others, which see the output that is in force.
        self.handle = module.register_forward_hook(self._add, prepend=True)

    def _add(self, _module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        inputs = args[0].flatten(0, -2).float()
        for patch in self.patches:
            said = patch.memory(inputs.device).say(inputs)
            if said is not None:
                changed = output.flatten(0, -2).clone()
                changed[said.tokens] = (changed[said.tokens].float() + said.added).to(output.dtype)
                output = changed.view(output.shape)
        return output


# State of a model, not of a process: it dies with the model.
_SITES: weakref.WeakKeyDictionary[nn.Module, dict[str, _Site]] = weakref.WeakKeyDictionary()
