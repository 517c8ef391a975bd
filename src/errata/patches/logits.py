"""Logits patches: edits of a small model, heard by a big one of the same vocabulary (Hewitt et al., 2024).

    logits = logits_big + beta * (log p_edited - log p_original),    p: of the small model

arXiv:2402.06155. Where there are several such patches, p_original has the earlier ones. The patch holds the small
model's patches, not the small model: that is found by name and told by its fingerprint. Knows what belongs together and
what a file keeps; how it is heard is in `correcting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.patches.base import Patch
from errata.patches.small import lent, small_model

if TYPE_CHECKING:
    from errata.models import EditableModel


class LogitsPatch(Patch):
    """What a small model's patches change in its log-probabilities, added to a big model's logits.

    Attributes:
        beta: how strongly, above 0 and at most 1.
        small: {"name", "fingerprint"} of the small model without any patch.
        patches: the small model's, in order.
        ids: for each edit its id among the edits of those patches.
    """

    kind: ClassVar[str] = "logits"

    def __init__(
        self,
        patches: Sequence[Patch],
        small: Mapping[str, str],
        beta: float,
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        ids: Sequence[str],
        order: int | None = None,
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.patches, self.small, self.beta, self.ids = tuple(patches), dict(small), beta, tuple(ids)
        self._smalls: dict[str, EditableModel] = {}  # by device
        if not 0 < beta <= 1:
            raise BadPatch(f"an ensemble listens to its small model by a beta of {beta}; give one above 0, at most 1")
        if len(self.ids) != len(self.edits) or not self.patches:
            raise BadPatch("a logits patch needs patches of its small model, and says which edit there is which here")

    @classmethod
    def of(
        cls,
        model: EditableModel,
        patches: Sequence[Patch],
        beta: float,
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        ids: Sequence[str] | None = None,
    ) -> LogitsPatch:
        """For a small model in memory. It is copied, so that nothing that is done to it later is heard.

        The copy lives as long as patches of this process use it; afterwards it must load by its name.
        """
        own, fingerprint = lent(model)
        told = {"name": model.name, "fingerprint": fingerprint}
        made = cls(patches, told, beta, method=method, config=config, edits=edits, ids=edits if ids is None else ids)
        made._smalls[str(own.device)] = own
        return made

    def at(self, beta: float) -> LogitsPatch:
        """The same edits, heard as strongly as `beta` says."""
        return self._with(self.patches, self.edits, beta)

    def describe(self) -> dict[str, Any]:
        parts = [patch.describe() for patch in self.patches]
        return {**super().describe(), "small": self.small["name"], "beta": self.beta, "patches": parts}

    def header(self) -> dict[str, Any]:
        parts = [patch.header() for patch in self.patches]
        return {
            **super().header(), "small": self.small, "beta": self.beta, "ids": list(self.ids), "patches": parts
        }

    def tensors(self) -> dict[str, Tensor]:
        parts = enumerate(self.patches)
        return {f"{place}:{name}": tensor for place, patch in parts for name, tensor in patch.tensors().items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LogitsPatch:
        from errata.patches.files import patch_of  # it lists this kind too

        parts: list[dict[str, Tensor]] = [{} for _ in header["patches"]]
        for key, tensor in tensors.items():
            place, _, name = key.partition(":")
            if not place.isdigit() or int(place) >= len(parts):
                raise BadPatch(f"tensor '{key}' belongs to no patch of the small model; the file is damaged")
            parts[int(place)][name] = tensor
        return cls(
            [patch_of(told, part) for told, part in zip(header["patches"], parts, strict=True)],
            {name: str(header["small"][name]) for name in ("name", "fingerprint")}, float(header["beta"]),
            method=header["method"], config=header["config"], edits=header["edits"], ids=header["ids"],
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> Patch:
        there = dict(zip(self.edits, self.ids, strict=True))
        gone = {there[edit] for edit in self.edits if edit not in kept}
        left = [part for patch in self.patches if (part := patch.without(gone)) is not None]
        return self._with(left, kept, self.beta)

    def _with(self, patches: Sequence[Patch], edits: Sequence[str], beta: float) -> LogitsPatch:
        there = dict(zip(self.edits, self.ids, strict=True))
        made = LogitsPatch(
            patches, self.small, beta, method=self.method, config=self.config, edits=edits,
            ids=[there[edit] for edit in edits], order=self.order,
        )  # fmt: skip
        made._smalls = self._smalls
        return made

    def small_on(self, model: EditableModel) -> EditableModel:
        """The small model, where a big one is. Raises: BadModel, WrongModel."""
        key = str(model.device)
        if key not in self._smalls:
            self._smalls[key] = small_model(self.small["name"], self.small["fingerprint"], model.device)
        return self._smalls[key]

    def _attach(self, model: EditableModel) -> None:
        from errata.patches.correcting import join  # transformers' classes, which no other patch needs

        if model.task != "causal":
            raise WrongModel(f"{model.name} is {model.task}; an ensemble is made of causal models")
        join(model, self)

    def _detach(self, model: EditableModel) -> None:
        from errata.patches.correcting import leave

        leave(model, self)
