"""Adding entries to a codebook one by one: covering, splitting, and giving entries that fell out keys of their own.

Knows the rules; what their result is like is in `geometry`. After GRACE (Hartvigsen et al., 2023, arXiv:2211.11031),
with these differences. Labels compare as sequences. A split looks at every ball of another label, not at the nearest
alone, and never enlarges one. Whatever happens, each entry stays answered by a key of its own label with the value of
its own group.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from errata.errors import BadPatch
from errata.patches.geometry import NOBODY, REMOVED, Entry, Geometry, Rules, as_float32
from errata.patches.points import distances

_BLOCK = 256  # entries whose bounds are computed in one product
_APART = 1 - 1e-6  # keeps split balls apart in float32
_WIDER = 1 + 1e-6  # makes up for the rounding of a float32 sum
_SPARE = 64  # removed rows that are not worth cleaning up


class _Neighbour(NamedTuple):
    row: int
    distance: float
    radius: float
    label: int


def fold(entries: Sequence[Entry], rules: Rules, width: int) -> Geometry:
    """Derive the geometry of `entries` of width d, from the left.

    Raises:
        BadPatch: an entry has another width.
    """
    return extend(Geometry.empty(width, rules), entries)


def extend(geometry: Geometry, entries: Sequence[Entry]) -> Geometry:
    """The geometry with more entries, equal to the fold of them all. `geometry` stays as it is; points are shared.

    Raises:
        BadPatch: an entry has another width.
    """
    width = geometry.points.width
    for entry in entries:
        if len(entry.query) != width:
            raise BadPatch(f"edit '{entry.edit}' has width {len(entry.query)}, the codebook {width}; use one model")
    return _Fold(geometry, entries).run()


class _Fold:
    """A geometry under construction. Rows are appended or removed, never changed but in radius and source."""

    def __init__(self, start: Geometry, more: Sequence[Entry]) -> None:
        self.start = start
        self.rules = start.rules
        self.entries = (*start.entries, *more)
        self.points = start.points.copy()
        self.numbers = dict(start.numbers)
        # Room for the new keys; a displaced entry that needs one more makes these grow.
        room = self.points.rows + len(more)
        self._radius = _with_room(start.radius, room, REMOVED)
        self._label = _with_room(start.label, room, -1)
        self._source = _with_room(start.source, room, -1)
        self.owner = _with_room(start.owner, len(self.entries), NOBODY)
        self._displaced: list[tuple[int, int]] = []  # (minus the entry, entry whose value it had): newest first

    def run(self) -> Geometry:
        """Take the new entries in, in order."""
        fresh = range(len(self.start.entries), len(self.entries))
        for first in range(fresh.start, fresh.stop, _BLOCK):
            block = range(first, min(first + _BLOCK, fresh.stop))
            bounds = self.points.bounds(torch.stack([self.entries[entry].query for entry in block]))
            for entry, known in zip(block, bounds, strict=True):
                self._add(entry, known)
        return self._geometry()

    @property
    def radius(self) -> Tensor:
        return self._radius[: self.points.rows]

    @property
    def label(self) -> Tensor:
        return self._label[: self.points.rows]

    def _add(self, entry: int, bounds: Tensor) -> None:
        label = self.numbers.setdefault(self.entries[entry].label, len(self.numbers))
        near = self._near(entry, bounds)
        margin = self._margin(entry)
        clashes = [one for one in near if one.label != label and one.distance <= margin]
        for clash in clashes:
            self._remove(clash.row, entry)
        near = [one for one in near if one not in clashes]
        if not self._cover(entry, label, near, bounds):
            self._place(entry, entry, label, near)
        while self._displaced:
            newest, source = heapq.heappop(self._displaced)
            self._settle_displaced(-newest, source)

    def _near(self, entry: int, bounds: Tensor | None = None) -> list[_Neighbour]:
        """Keys whose ball the entry's first ball may touch, or that may be at its very point; nearest first."""
        margin = self._margin(entry)
        reach = (self.radius + max(self.entries[entry].radius, margin)) * _WIDER
        if self.rules.variant == "separate":  # balls may overlap
            reach = torch.where(self.radius >= 0, margin, REMOVED)
        return self._within(self.entries[entry].query, reach, bounds)

    def _within(self, query: Tensor, reach: Tensor, bounds: Tensor | None = None) -> list[_Neighbour]:
        rows, exact = self.points.near(query, reach, bounds)
        columns = (rows, exact, self.radius[rows], self.label[rows])
        found = map(_Neighbour._make, zip(*(column.tolist() for column in columns), strict=True))
        return sorted(found, key=lambda one: (one.distance, one.row))

    def _margin(self, entry: int) -> float:
        return self.rules.margin(self.entries[entry])

    def _members(self, row: int) -> list[int]:
        return (self.owner == row).nonzero()[:, 0].tolist()

    def _distances(self, entries: Sequence[int], point: Tensor) -> list[float]:
        if not entries:
            return []
        return distances(torch.stack([self.entries[entry].query for entry in entries]), point).tolist()

    # One key takes in another query of its label.

    def _cover(self, entry: int, label: int, near: Sequence[_Neighbour], bounds: Tensor) -> bool:
        """Let the nearest key of the label answer for the entry as well; whether that is possible."""
        own = self.entries[entry]
        key = next((one for one in near if one.label == label), None)
        if key is None or key.distance > own.radius + key.radius:
            return False
        if key.distance > own.radius:  # a nearer key of this label may be out of its own, smaller, reach
            alike = torch.where(self.label == label, as_float32(key.distance) * _WIDER, REMOVED)
            nearest = [one for one in self._within(own.query, alike, bounds) if one.radius >= 0]
            if nearest[0].row != key.row:
                return False
        return self._widen(entry, key) or self._take_in(entry, key)

    def _widen(self, entry: int, key: _Neighbour) -> bool:
        """Grow the ball of a key over the entry, or move it half-way there, unless it then meets another label."""
        centre = self.points.full[key.row]
        members = [*self._members(key.row), entry]
        if self.rules.variant == "average":
            centre = (centre + self.entries[entry].query) / 2
        else:
            members = [entry]
        spread = zip(self._distances(members, centre), map(self._margin, members), strict=True)
        radius = max(key.radius, _rounded_up(max(distance + margin for distance, margin in spread)))
        row = key.row
        moved = not torch.equal(centre, self.points.full[row])
        changed = moved or radius > key.radius
        if changed and (self.rules.variant == "separate" or self._meets_other(centre, radius, key.label)):
            return False
        if moved:
            row = self._append(centre, radius, key.label, entry)
            self.owner[members] = row
            self._radius[key.row] = REMOVED
        self._radius[row] = radius
        self._source[row] = entry
        self.owner[entry] = row
        if changed:
            alike = torch.where(self.label == key.label, (self.radius + radius) * _WIDER, REMOVED)
            self._settle(row, [one.row for one in self._within(centre, alike) if one.row != row])
        return True

    def _take_in(self, entry: int, key: _Neighbour) -> bool:
        """Leave the ball as it is if the entry lies well inside."""
        if key.distance >= key.radius:
            return False
        self._source[key.row] = entry
        self.owner[entry] = key.row
        return True

    def _meets_other(self, centre: Tensor, radius: float, label: int) -> bool:
        other = torch.where(self.label != label, (self.radius + radius) * _WIDER, REMOVED)
        return any(one.distance < radius + one.radius for one in self._within(centre, other))

    # A key for an entry alone.

    def _place(self, entry: int, source: int, label: int, near: Sequence[_Neighbour]) -> None:
        """Give the entry a key of its own, and split the balls of other labels that it would overlap."""
        own = self.entries[entry]
        radius = own.radius
        split = []
        for one in near:
            if one.label != label and one.distance < one.radius + radius:
                self._radius[one.row] = min(one.radius, one.distance / 2 * _APART)
                radius = min(radius, as_float32(one.distance / 2))
                split.append(one.row)
        row = self._append(own.query, radius, label, source)
        self.owner[entry] = row
        for other in split:
            self._shed(other)
        self._settle(row, [one.row for one in near if one.label == label])

    def _append(self, centre: Tensor, radius: float, label: int, source: int) -> int:
        row = self.points.append(centre)
        if row == len(self._radius):
            room = 2 * row + 1
            self._radius = _with_room(self._radius, room, REMOVED)
            self._label = _with_room(self._label, room, -1)
            self._source = _with_room(self._source, room, -1)
        self._radius[row], self._label[row], self._source[row] = radius, label, source
        return row

    # Entries whose key went away, shrank, or lies behind a nearer one.

    def _remove(self, row: int, newer: int) -> None:
        """Take a key away for a newer entry at its very point; entries at that point go with it."""
        members = self._members(row)
        gone = self._distances(members, self.entries[newer].query)
        margin = self._margin(newer)
        self._displace(row, [m for m, distance in zip(members, gone, strict=True) if m > newer or distance > margin])
        self.owner[members] = NOBODY
        self._radius[row] = REMOVED

    def _shed(self, row: int) -> None:
        """Displace the members that a split left outside the ball, or so near its edge that noise could."""
        members = self._members(row)
        spread = zip(members, self._distances(members, self.points.full[row]), strict=True)
        radius = float(self._radius[row])
        self._displace(row, [m for m, away in spread if away > 0 and away + self._margin(m) > radius])

    def _settle(self, row: int, alike: Sequence[int]) -> None:
        """Displace entries that, since the ball at `row` is new or larger, a nearer key with another value answers.

        `alike` are the keys of its label that it may overlap.
        """
        for other in alike:
            self._displace(other, self._captured(other, row))
            self._displace(row, self._captured(row, other))

    def _captured(self, row: int, by: int) -> list[int]:
        """Members of one key that another of the same label would answer."""
        members = self._members(row)
        here = self._distances(members, self.points.full[row])
        there = self._distances(members, self.points.full[by])
        radius = float(self._radius[by])
        spread = zip(members, here, there, strict=True)
        return [m for m, mine, other in spread if other <= radius and (other, by) < (mine, row)]

    def _displace(self, row: int, members: Sequence[int]) -> None:
        if not members:
            return
        for member in members:
            self.owner[member] = NOBODY
            heapq.heappush(self._displaced, (-member, int(self._source[row])))
        if not self._members(row):  # a moved key need not be at any query: without members it has no purpose
            self._radius[row] = REMOVED

    def _settle_displaced(self, entry: int, source: int) -> None:
        """A key of its own for a displaced entry, with the value it had; none if a newer entry is at its very point."""
        label = self.numbers[self.entries[entry].label]
        near = self._near(entry)
        clashes = [one for one in near if one.label != label and one.distance <= self._margin(entry)]
        if any(max(self._members(clash.row)) > entry for clash in clashes):
            return
        for clash in clashes:
            self._remove(clash.row, entry)
        near = [one for one in near if one not in clashes]
        holding = next((one for one in near if one.label == label and one.distance < one.radius), None)
        if holding and holding.distance <= self._margin(entry):
            self.owner[entry] = holding.row
        else:
            self._place(entry, source, label, near)

    def _geometry(self) -> Geometry:
        rows = self.points.rows
        done = replace(
            self.start,
            entries=self.entries,
            points=self.points,
            radius=self._radius[:rows],
            label=self._label[:rows],
            source=self._source[:rows],
            owner=self.owner,
            numbers=self.numbers,
        )
        return done.tidied() if rows - len(done.rows) > max(_SPARE, rows // 2) else done


def _with_room(column: Tensor, room: int, filling: float) -> Tensor:
    """A copy with at least `room` places."""
    larger = column.new_full((max(room, len(column)),), filling)
    larger[: len(column)] = column
    return larger


def _rounded_up(radius: float) -> float:
    """The least float32 that is no smaller."""
    rounded = torch.tensor(radius, dtype=torch.float32)
    return float(rounded if float(rounded) >= radius else rounded.nextafter(torch.tensor(float("inf"))))
