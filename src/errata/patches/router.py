"""Router patches: prompts in the scope of an edit are answered by another network that reads the edit before them
(SERAC, arXiv:2206.06520).

Knows edits, their embeddings and which of them a prompt belongs to. The networks are in `networks`; how a running model
is tapped is in `routing`. It does not know how the networks were trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.patches import routing
from errata.patches.base import Patch
from errata.patches.networks import Networks, Placed, Rows
from errata.patches.records import RecordedPatch

if TYPE_CHECKING:
    from errata.models import EditableModel

_NETWORKS = "networks."


@dataclass(frozen=True, eq=False)
class Entry:
    """One edit.

    Attributes:
        edit: its id.
        prompt: its own, by which an older edit is known to be superseded.
        embedding: (e,) float32, of prompt and target together.
        context: both as the ids that are put before a prompt in its scope.
    """

    edit: str
    prompt: str
    embedding: Tensor
    context: tuple[int, ...]


@dataclass(frozen=True)
class Claim:
    """A row that is in the scope of an edit, and how far its embedding is from the edit's."""

    row: int
    entry: Entry
    distance: float


class RouterPatch(RecordedPatch):
    """Answers what is in the scope of an edit in place of the model, which answers the rest, bit for bit.

    Of several edits the most similar answers, of several with one prompt the newest. Increments of one router share its
    networks: the first file holds them, later ones say which they are.

    Attributes:
        entries: oldest first.
        networks: see there.
        threshold: similarity above which a prompt is in scope.
    """

    kind: ClassVar[str] = "router"

    def __init__(
        self,
        entries: Sequence[Entry],
        networks: Networks,
        *,
        threshold: float,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.entries, self.networks, self.threshold = tuple(entries), networks, threshold
        if {entry.edit for entry in self.entries} != set(self.edits):
            raise BadPatch("a router needs an entry for every edit that it lists, and no other")
        if not 0 < threshold < 1:
            raise BadPatch(f"a router's threshold is {threshold}; it must be between 0 and 1")
        width = networks.sizes.width
        if any(entry.embedding.shape != (width,) or not entry.embedding.isfinite().all() for entry in self.entries):
            raise BadPatch(f"an edit of a router has no finite embedding of length {width}")
        newest = {entry.prompt.strip(): entry for entry in self.entries}
        self._standing = tuple(newest.values())
        self._embeddings = _stacked(self._standing, width)

    @property
    def partial(self) -> bool:
        return not self.networks.tensors

    def claims(self, placed: Placed, rows: Rows) -> list[Claim]:
        """Which of these rows of ids are in the scope of an edit."""
        if not rows or not self._standing:
            return []
        embeddings = self._embeddings.to(placed.scope.head.device)
        similar = placed.scope.log_similarity(placed.embed(rows), embeddings)
        found = []
        for row, (best, nearest) in enumerate(zip(*(part.tolist() for part in similar.max(1)), strict=True)):
            entry = self._standing[nearest]
            if best > math.log(self.threshold) and placed.fits(entry.context, rows[row]):
                found.append(Claim(row, entry, placed.scope.distance(best)))
        return found

    def radius(self, placed: Placed) -> float:
        """The distance within which a prompt is in scope."""
        return placed.scope.distance(math.log(self.threshold))

    def describe(self) -> dict[str, Any]:
        told = sum(tensor.numel() * tensor.element_size() for tensor in self.networks.tensors.values())
        return {**super().describe(), "threshold": self.threshold, "networks": self.networks.digest, "shared": told}

    @property
    def slot(self) -> tuple[Any, ...]:
        return (self.kind, self.method, self.networks.digest, self.threshold)

    def increment(self, previous: Patch | None) -> RouterPatch:
        """The edits that `previous` lacks, without the networks, which are kept with it."""
        if previous is None:
            return self
        entries = [entry for entry in self.entries if entry.edit not in set(previous.edits)]
        return self._with(entries, self.networks.elsewhere())

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        return increment if previous is None else cls.joined([previous, increment])

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> Patch:
        """All their edits, with the networks of the first that holds them. Raises BadPatch: of different routers."""
        routers = [part for part in parts if isinstance(part, RouterPatch)]
        last = routers[-1]
        if len(routers) < len(parts) or any(router.slot != last.slot for router in routers):
            raise BadPatch("only edits of one trained editor and one threshold make one router; stack the patches")
        networks = next((router.networks for router in routers if not router.partial), last.networks)
        joined = last._with([entry for router in routers for entry in router.entries], networks)
        joined.order = routers[0].order
        return joined

    def header(self) -> dict[str, Any]:
        entries = [{"edit": entry.edit, "prompt": entry.prompt} for entry in self.entries]
        return {
            **super().header(), "threshold": self.threshold, "networks": self.networks.header(), "entries": entries
        }

    def tensors(self) -> dict[str, Tensor]:
        ids = [token for entry in self.entries for token in entry.context]
        width = self.networks.sizes.width
        return {
            "embeddings": _stacked(self.entries, width),
            "contexts": torch.tensor(ids, dtype=torch.int32),
            "lengths": torch.tensor([len(entry.context) for entry in self.entries], dtype=torch.int32),
            **{_NETWORKS + name: tensor for name, tensor in self.networks.tensors.items()},
        }

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RouterPatch:
        told, embeddings, lengths = header["entries"], tensors["embeddings"], tensors["lengths"].tolist()
        held = {name.removeprefix(_NETWORKS): one for name, one in tensors.items() if name.startswith(_NETWORKS)}
        if not (len(told) == len(embeddings) == len(lengths)) or sum(lengths) != len(tensors["contexts"]):
            raise BadPatch(f"a router of {len(told)} edits has other numbers of embeddings or contexts")
        if embeddings.dtype != torch.float32:
            raise BadPatch("the embeddings of a router must be float32")
        contexts = tensors["contexts"].split(lengths)
        entries = [
            Entry(one["edit"], one["prompt"], embedding, tuple(context.tolist()))
            for one, embedding, context in zip(told, embeddings, contexts, strict=True)
        ]
        return cls(
            entries, Networks.from_parts(header["networks"], held), threshold=header["threshold"],
            method=header["method"], config=header["config"], edits=header["edits"],
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> RouterPatch:
        return self._with([entry for entry in self.entries if entry.edit in set(kept)], self.networks)

    def _with(self, entries: Sequence[Entry], networks: Networks) -> RouterPatch:
        return RouterPatch(
            entries, networks, threshold=self.threshold, method=self.method, config=self.config,
            edits=[entry.edit for entry in entries], order=self.order,
        )  # fmt: skip

    def _attach(self, model: EditableModel) -> None:
        if model.task == "causal":
            raise WrongModel("a router needs a model that reads its prompt first: an encoder-decoder or a classifier")
        routing.join(model, self, self.networks.on(model))

    def _detach(self, model: EditableModel) -> None:
        routing.leave(model, self)


def _stacked(entries: Sequence[Entry], width: int) -> Tensor:
    """(n, e)."""
    return torch.stack([entry.embedding for entry in entries]) if entries else torch.empty(0, width)
