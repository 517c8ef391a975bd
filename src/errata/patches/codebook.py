"""Codebook patches: states of one block that are recognised and replaced (GRACE, arXiv:2211.11031, and its kin).

Knows entries and what their geometry answers. How a running model is tapped is in `sites`, how a state is looked up in
`search`, how entries become keys in `fold`. It does not know how an entry's value was found.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from errata.errors import BadPatch
from errata.patches.base import Patch
from errata.patches.fold import extend, fold
from errata.patches.geometry import Entry, Geometry, Rules
from errata.patches.metric import Metric
from errata.patches.points import distances
from errata.patches.search import Hits, Search
from errata.patches.states import Firing, StatePatch

__all__ = ["CodebookPatch", "Entry", "Firing", "Geometry", "Metric", "Rules"]

_WIDTHS = "the entries of a codebook have different widths; they must come from one model"


class CodebookPatch(StatePatch):
    """Replaces states of block `layer` that lie in the ball of a key by the key's value.

    Attributes:
        entries: in order; `geometry` is derived from them.
        rules: how.
        metric: under which states are looked up; None: as they are. Queries are kept as it sees them.
    """

    kind: ClassVar[str] = "codebook"

    def __init__(
        self,
        layer: int,
        entries: Sequence[Entry],
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        rules: Rules | None = None,
        metric: Metric | None = None,
        order: int | None = None,
    ) -> None:
        super().__init__(layer, method=method, config=config, edits=edits, order=order)
        self.entries = tuple(entries)
        self.rules = rules or Rules()
        self.metric = metric
        if self.entries and (unknown := {entry.edit for entry in self.entries} - set(self.edits)):
            raise BadPatch(f"a codebook holds entries of edit '{min(unknown)}', which it does not list")
        if len({(len(entry.query), len(entry.value)) for entry in self.entries}) > 1:
            raise BadPatch(_WIDTHS)
        expected = tuple(metric.matrix.shape) if metric else (self.width, self.width)
        if self.entries and (self._reach, self.width) != expected:
            raise BadPatch(f"queries and values of a codebook are {(self._reach, self.width)} wide, not {expected}")
        self._geometry: Geometry | None = None
        self._searches: dict[torch.device, Search] = {}

    @property
    def width(self) -> int:
        """Size d of the states, 0 without entries."""
        return len(self.entries[0].value) if self.entries else 0

    @property
    def _reach(self) -> int:
        """Size q of the queries, 0 without entries."""
        return len(self.entries[0].query) if self.entries else 0

    def seen(self, states: Tensor) -> Tensor:
        """(N, q): states (N, d) as the metric sees them."""
        return states if self.metric is None else self.metric.of(states)

    @property
    def geometry(self) -> Geometry:
        """What the entries make together, derived when it is first asked for."""
        if self._geometry is None:
            self._geometry = fold(self.entries, self.rules, self._reach)
        return self._geometry

    @property
    def size(self) -> int:
        return len(self.entries) * (self._reach + self.width + 1) * 4 + (self.metric.size if self.metric else 0)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "layer": self.layer, **self.geometry.summary()}

    def lookup(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """For states (N, d): does a key answer (N,) bool, and which one (N,) index into `geometry.keys`, else -1."""
        hit = torch.zeros(len(states), dtype=torch.bool)
        index = torch.full((len(states),), -1)
        if found := self.hits(states.detach()):
            hit[found.states] = True
            index[found.states] = self.geometry.number[found.rows]
        return hit.to(states.device), index.to(states.device)

    def prepare(self, device: torch.device) -> None:
        self.search(device)

    def hits(self, states: Tensor) -> Hits | None:
        return self.search(states.device).hits(self.seen(states))

    def replacements(self, states: Tensor, hits: Hits) -> Tensor:
        return torch.stack([self.value(row) for row in hits.rows.tolist()])

    def search(self, device: torch.device) -> Search:
        """The geometry, ready to be asked on a device."""
        if device not in self._searches:
            self._searches[device] = Search(self.geometry, device)
        return self._searches[device]

    def value(self, row: int) -> Tensor:
        """(d,): what the key at a row of the geometry answers."""
        return self.entries[int(self.geometry.source[row])].value

    def firing(self, state: Tensor, row: int, distance: float, at: tuple[int, int]) -> Firing:
        """Who answered for a `state` (d,) by the key at a row of the geometry; `at` is its row and position."""
        geometry = self.geometry
        members = (geometry.owner == row).nonzero()[:, 0].tolist()
        queries = torch.stack([self.entries[member].query for member in members])
        nearest = members[int(distances(queries, self.seen(state[None])[0].cpu()).argmin())]
        return Firing(*at, self.entries[nearest].edit, distance, float(geometry.radius[row]), self.layer)

    @property
    def slot(self) -> tuple[Any, ...]:
        return (self.kind, self.method, self.layer, self.rules, self.metric and self.metric.key)

    def increment(self, previous: Patch | None) -> CodebookPatch:
        """The edits that `previous` lacks, with their entries alone."""
        known = set(previous.edits) if previous else set()
        return self._only(tuple(edit for edit in self.edits if edit not in known))

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        """`previous` with the entries of `increment` after its own. Costs one pass over the keys for every entry.

        Raises:
            BadPatch: they are no codebooks at one block under the same rules, or share an edit.
        """
        if previous is None:
            return increment
        if not (isinstance(previous, CodebookPatch) and isinstance(increment, CodebookPatch)):
            raise BadPatch(f"a {increment.kind} patch cannot extend a {previous.kind} patch; stack them instead")
        # The name of the method is no matter: who extends knows what it does.
        if previous.slot[2:] != increment.slot[2:]:
            raise BadPatch(
                "a codebook can only take in entries of its own layer, rules and metric; stack the patches instead"
            )
        if previous.entries and increment.entries and previous.width != increment.width:
            raise BadPatch(_WIDTHS)
        joined = previous._with(previous.edits + increment.edits, previous.entries + increment.entries)
        joined.method, joined.config = increment.method, increment.config
        if previous._geometry is not None and previous.entries:
            joined._geometry = extend(previous._geometry, increment.entries)
        return joined

    def revalued(self, values: Mapping[str, Tensor]) -> CodebookPatch:
        """The same codebook with other values (d,) for its last entries, those of the edits in `values`.

        Keys and balls do not depend on values, so nothing is derived anew.
        """
        kept = len(self.entries)
        while kept and self.entries[kept - 1].edit in values:
            kept -= 1
        last = [replace(entry, value=values[entry.edit]) for entry in self.entries[kept:]]
        other = copy.copy(self)
        other.entries = self.entries[:kept] + tuple(last)
        other._geometry = replace(self.geometry, entries=other.entries)
        other._searches, other._models = {}, weakref.WeakSet()
        return other

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> Patch:
        """All entries in one go: extending one by one would cost the square of their number."""
        books = [part for part in parts if isinstance(part, CodebookPatch)]
        last = books[-1]
        if len(books) < len(parts) or any(book.slot != last.slot for book in books):
            raise BadPatch(
                "only codebooks of one layer, the same rules and metric make one codebook; stack the patches"
            )
        return cls(
            last.layer,
            [entry for book in books for entry in book.entries],
            method=last.method,
            config=last.config,
            edits=[edit for book in books for edit in book.edits],
            rules=last.rules,
            metric=last.metric,
        )

    def header(self) -> dict[str, Any]:
        entries = [
            {"edit": entry.edit, "label": list(entry.label), "prompt": entry.prompt, "position": entry.position}
            for entry in self.entries
        ]
        return {**super().header(), "layer": self.layer, "rules": asdict(self.rules), "entries": entries}

    def tensors(self) -> dict[str, Tensor]:
        empty = torch.empty(0, 0)
        metric = {"metric": self.metric.matrix} if self.metric else {}
        return metric | {
            "queries": torch.stack([entry.query for entry in self.entries]) if self.entries else empty,
            "values": torch.stack([entry.value for entry in self.entries]) if self.entries else empty,
            "radii": torch.tensor([entry.radius for entry in self.entries], dtype=torch.float32),
        }

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> CodebookPatch:
        told, count = header["entries"], len(header["entries"])
        queries, values, radii = tensors["queries"], tensors["values"], tensors["radii"]
        plain = all(tensor.dtype == torch.float32 for tensor in tensors.values())
        rows = {queries.shape[:1], values.shape[:1], radii.shape}
        if not plain or (queries.dim(), values.dim()) != (2, 2) or len(rows) > 1:
            raise BadPatch("the tensors of a codebook must be float32: queries and values (n, d), radii (n,)")
        if len(queries) != count:
            raise BadPatch(f"a codebook of {count} entries has {len(queries)} queries; the file is damaged")
        entries = [
            Entry(one["edit"], query, value, tuple(one["label"]), radius, one["prompt"], one["position"])
            for one, query, value, radius in zip(told, queries, values, radii.tolist(), strict=True)
        ]
        return cls(
            int(header["layer"]),
            entries,
            method=header["method"],
            config=header["config"],
            edits=header["edits"],
            rules=Rules(**header["rules"]),
            metric=Metric(tensors["metric"]) if "metric" in tensors else None,
        )

    def _only(self, kept: tuple[str, ...]) -> CodebookPatch:
        chosen = set(kept)
        return self._with(kept, tuple(entry for entry in self.entries if entry.edit in chosen))

    def _with(self, edits: tuple[str, ...], entries: tuple[Entry, ...]) -> CodebookPatch:
        """The same codebook with other entries, as if it had been made of them. They are not checked again."""
        other = CodebookPatch(
            self.layer, (), method=self.method, config=self.config, edits=edits, rules=self.rules,
            metric=self.metric, order=self.order,
        )  # fmt: skip
        other.entries = entries
        return other
