"""The rules by which entries become keys: cases worked out by hand, then the promises on arbitrary streams."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.errors import BadPatch
from errata.patches.fold import extend, fold
from errata.patches.geometry import NOBODY, Entry, Geometry, Rules
from errata.patches.points import distances
from errata.patches.search import Search

CPU = torch.device("cpu")


def entry(edit: str, query: list[float], label: int, radius: float = 1.0, value: float | None = None) -> Entry:
    """An entry whose value is a constant vector: by default its own number, so that tests see whose it is."""
    number = float(edit) if value is None else value
    return Entry(edit, torch.tensor(query), torch.full((len(query),), number), (label, 0), radius)


def line(*points: tuple[float, int], radius: float = 1.0) -> list[Entry]:
    """Entries on a line, named 0, 1, 2 ..., given by place and label."""
    return [entry(str(number), [place], label, radius) for number, (place, label) in enumerate(points)]


def folded(entries: list[Entry], rules: Rules | None = None) -> Geometry:
    return fold(entries, rules or Rules(), len(entries[0].query))


def keys_of(geometry: Geometry) -> list[tuple[float, float]]:
    """Place and radius of each key on a line."""
    return [(round(place, 3), round(radius, 3)) for place, radius in zip(
        geometry.keys[:, 0].tolist(), geometry.radii.tolist(), strict=True
    )]  # fmt: skip


def test_far_entries_become_keys_of_their_own() -> None:
    geometry = folded(line((0, 1), (10, 1), (20, 2)))
    assert keys_of(geometry) == [(0, 1), (10, 1), (20, 1)]
    assert geometry.members == ((0,), (1,), (2,))
    assert geometry.labels.tolist() == [0, 0, 1]


def test_a_query_of_the_same_label_is_covered_and_brings_its_value() -> None:
    geometry = folded(line((0, 1), (1.5, 1)))
    assert keys_of(geometry) == [(0, 1.5)]
    assert geometry.members == ((0, 1),)
    assert geometry.values.tolist() == [[1.0]]  # the second entry's


def test_the_average_moves_half_way_and_still_covers_every_member() -> None:
    geometry = folded(line((0, 1), (1.5, 1), (-1, 1)), Rules("average"))
    # 0 and 1.5 meet at .75; -1 is 1.75 away from there, within 1 + 1: the key moves to -.125, 1.625 away from 1.5
    assert keys_of(geometry) == [(-0.125, 1.625)]
    assert geometry.members == ((0, 1, 2),)


def test_a_split_halves_the_way_between_two_labels() -> None:
    geometry = folded(line((0, 1), (1, 2)))
    assert keys_of(geometry) == [(0, 0.5), (1, 0.5)]
    assert geometry.radii[0] + geometry.radii[1] < 1


def test_a_split_never_enlarges_a_radius() -> None:
    geometry = folded([entry("0", [0.0], 1, 0.1), entry("1", [1.0], 2, 1.0)])
    assert keys_of(geometry) == [(0, 0.1), (1, 0.5)]


def test_a_split_sees_every_overlapping_ball_not_only_the_nearest() -> None:
    geometry = folded(line((0, 1), (3, 1), (1.2, 2)))
    # .6 beside the nearest; 1.8 from the other, whose ball of 1 would still be met at .6 + 1 > 1.8 if it were 1.2
    assert keys_of(geometry) == [(0, 0.6), (3, 1), (1.2, 0.6)]
    wide = folded([*line((0, 1)), entry("1", [3.0], 3, 2.0), entry("2", [1.2], 2, 1.0)])
    assert keys_of(wide) == [(0, 0.6), (3, 0.9), (1.2, 0.6)]


def test_an_entry_left_outside_by_a_split_gets_a_key_with_its_groups_value() -> None:
    entries = line((0, 1), (1.5, 1), (2.5, 2))
    geometry = folded(entries)
    assert keys_of(geometry) == [(0, 1.25), (2.5, 0.5), (1.5, 0.5)]
    assert geometry.members == ((0,), (2,), (1,))
    assert geometry.values[:, 0].tolist() == [1.0, 2.0, 1.0]


def test_the_newest_of_two_labels_wins_a_point_until_it_is_undone() -> None:
    entries = line((0, 1), (0, 2), (5, 3))
    geometry = folded(entries)
    assert geometry.members == ((1,), (2,))
    assert geometry.superseded == (0,)
    assert geometry.summary()["superseded"] == ["0"]
    undone = folded([entries[0], entries[2]])
    assert undone.members == ((0,), (1,))
    assert keys_of(undone) == [(0, 1), (5, 1)]


def test_what_a_removed_key_covered_elsewhere_lives_on() -> None:
    geometry = folded(line((0, 1), (1.5, 1), (0, 2)))
    assert geometry.superseded == (0,)
    assert geometry.members == ((2,), (1,))
    assert geometry.values[:, 0].tolist() == [2.0, 1.0]


def test_a_covered_query_is_superseded_at_its_point_too() -> None:
    geometry = folded(line((0, 1), (0.8, 1), (0.8, 2)))
    assert geometry.superseded == (1,)
    assert geometry.members == ((0,), (2,))


def test_the_same_edit_again_adds_no_key() -> None:
    geometry = folded(line((0, 1), (0, 1), (0, 1)))
    assert len(geometry.keys) == 1
    assert geometry.values.tolist() == [[2.0]]


def test_labels_agree_as_sequences() -> None:
    same_mean = [
        Entry("0", torch.zeros(1), torch.zeros(1), (1, 3), 1.0),
        Entry("1", torch.tensor([0.5]), torch.ones(1), (2, 2), 1.0),
    ]
    assert len(folded(same_mean).keys) == 2


def test_an_entry_that_cannot_be_answered_is_refused() -> None:
    point = torch.zeros(2)
    with pytest.raises(BadPatch, match="NaN"):
        Entry("a", torch.tensor([0.0, float("nan")]), point, (1,), 1.0)
    with pytest.raises(BadPatch, match="radius"):
        Entry("a", point, point, (1,), 0.0)
    with pytest.raises(BadPatch, match="shapes"):
        Entry("a", point, torch.zeros(1, 2), (1,), 1.0)
    with pytest.raises(BadPatch, match="width 3"):
        fold([Entry("a", torch.zeros(3), torch.zeros(3), (1,), 1.0)], Rules(), 2)
    with pytest.raises(BadPatch, match="variant"):
        Rules("nearest")  # type: ignore[arg-type]


# What holds for every stream of entries.


@dataclass
class Stream:
    rules: Rules
    entries: list[Entry]


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Up to 24 entries of 4 labels in a small space: some on a coarse grid, so that they coincide and touch."""
    width = draw(st.integers(1, 4))
    coarse = st.integers(-6, 6).map(lambda number: number / 2)
    fine = st.floats(-3, 3, width=32, allow_subnormal=False)
    close = st.integers(-6, 6).map(lambda number: number / 2 + 3e-5)
    place = st.lists(st.one_of(coarse, fine, close), min_size=width, max_size=width)
    radius = st.one_of(st.sampled_from([0.25, 0.5, 1.0, 2.0]), st.floats(2**-10, 3, width=32))
    rows = draw(st.lists(st.tuples(place, st.integers(0, 3), radius), min_size=1, max_size=24))
    rules = Rules(draw(st.sampled_from(["coverage", "average"])), draw(st.sampled_from([0.0, 1e-4, 1e-2])))
    return Stream(rules, [entry(str(n), point, label, size) for n, (point, label, size) in enumerate(rows)])


def check(geometry: Geometry) -> None:
    """No two balls of different labels overlap; every live entry is answered by its own label and group."""
    keys, radii, labels = geometry.keys, geometry.radii.double(), geometry.labels
    for number, key in enumerate(keys):
        other = labels != labels[number]
        gaps = distances(keys, key) - radii - radii[number]
        assert (gaps[other] >= 0).all()
    hits = Search(geometry, CPU).hits(torch.stack([one.query for one in geometry.entries]))
    answered = dict(zip(hits.states.tolist(), hits.rows.tolist(), strict=True)) if hits else {}
    for number, row in enumerate(geometry.owner.tolist()):
        if row != NOBODY:
            assert geometry.radius[row] >= 0
            assert answered[number] == row
            assert geometry.entries[int(geometry.source[row])].label == geometry.entries[number].label
    assert all(geometry.members), "a key without a member"


def same(one: Geometry, other: Geometry) -> bool:
    """Bit for bit."""
    tensors = ("keys", "values", "radii", "labels")
    return one.members == other.members and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in tensors
    )


def check_every_prefix(stream: Stream) -> None:
    geometry = Geometry.empty(len(stream.entries[0].query), stream.rules)
    for number, one in enumerate(stream.entries):
        before = geometry
        geometry = extend(before, [one])
        check(geometry)
        if stream.rules.variant == "coverage":
            grown = geometry.radius[: before.points.rows] > before.radius
            same_label = geometry.label[: before.points.rows] == geometry.numbers[one.label]
            assert not (grown & ~same_label).any(), "a split enlarged a ball"
        assert geometry.owner[number] != NOBODY, "the newest entry is always in force"
    assert same(geometry, folded(stream.entries, stream.rules))


def check_undo(stream: Stream, data: st.DataObject) -> None:
    count = len(stream.entries)
    gone = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    rest = [one for number, one in enumerate(stream.entries) if number not in gone]
    geometry = folded(rest, stream.rules)
    check(geometry)
    cut = data.draw(st.integers(0, len(rest)))
    assert same(geometry, extend(fold(rest[:cut], stream.rules, len(rest[0].query)), rest[cut:]))


@settings(max_examples=50, deadline=None)
@given(streams())
def test_promises_hold_after_every_entry(stream: Stream) -> None:
    check_every_prefix(stream)


@settings(max_examples=50, deadline=None)
@given(streams(), st.data())
def test_undo_is_as_if_never_done(stream: Stream, data: st.DataObject) -> None:
    check_undo(stream, data)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(streams(), st.data())
def test_promises_hold_in_many_more_streams(stream: Stream, data: st.DataObject) -> None:
    check_every_prefix(stream)
    check_undo(stream, data)


def test_versions_share_their_points_and_a_fork_does_not_disturb_them() -> None:
    torch.manual_seed(0)
    made = [Entry(str(n), torch.randn(8) * 9, torch.randn(8), (n % 3,), 1.0) for n in range(40)]
    base = fold(made[:10], Rules(), 8)
    kept = base.keys.clone()
    longer = extend(base, made[10:20])
    assert longer.points.full.data_ptr() == base.points.full.data_ptr()
    forked = extend(base, made[20:30])
    assert torch.equal(base.keys, kept)
    assert same(longer, fold(made[:20], Rules(), 8))
    assert same(forked, fold(made[:10] + made[20:30], Rules(), 8))
    final = extend(base, [replace(one, value=one.value + 1) for one in made[10:15]] + made[30:32])
    assert same(longer, fold(made[:20], Rules(), 8))
    assert torch.equal(final.keys[:-2], longer.keys[:-5])
    assert final.values[10].tolist() == (made[10].value + 1).tolist()


def test_a_draft_and_its_final_form_share_their_points() -> None:
    torch.manual_seed(0)
    made = [Entry(str(n), torch.randn(8) * 9, torch.zeros(8), (n,), 1.0) for n in range(12)]
    base = fold(made[:10], Rules(), 8)
    draft = extend(base, made[10:])
    final = extend(base, [replace(one, value=torch.ones(8)) for one in made[10:]])
    assert final.points.full.data_ptr() == draft.points.full.data_ptr()
    assert torch.equal(final.keys, draft.keys)


def test_rows_of_removed_keys_are_cleaned_up_in_the_end() -> None:
    moving = [entry(str(n), [n / 100, 0.0], 1) for n in range(200)]
    geometry = folded(moving, Rules("average"))
    assert len(geometry.keys) < 50
    assert geometry.points.rows < 130
    check(geometry)


def test_separate_entries_keep_keys_and_radii_of_their_own() -> None:
    rules = Rules("separate")
    geometry = folded(line((0, 1), (0.5, 1), (1, 2)), rules)
    assert keys_of(geometry) == [(0, 1), (0.5, 1), (1, 1)]
    assert geometry.members == ((0,), (1,), (2,))


def test_separate_entries_at_one_point_share_a_key_or_the_newest_has_it() -> None:
    rules = Rules("separate")
    twins = folded(line((0, 1), (0, 1)), rules)
    assert (keys_of(twins), twins.members, twins.values.tolist()) == ([(0, 1)], ((0, 1),), [[1.0]])
    rivals = folded(line((0, 1), (0, 2)), rules)
    assert (keys_of(rivals), rivals.superseded) == ([(0, 1)], (0,))
