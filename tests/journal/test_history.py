"""The fold: examples worked out by hand, then random histories against a naive model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.errors import BadSheet, UnknownName
from errata.journal.events import Event, Outcome, PatchFile
from errata.journal.history import State, fold


def event(seq: int, kind: str, payload: dict[str, Any], method: str | None = None) -> Event:
    return Event(seq, "2026-01-01T00:00:00+00:00", "me@here", kind, method, {}, None, payload, {})


def apply(seq: int, *edits: tuple[str, str] | tuple[str, str, str], **more: Any) -> Event:
    """Edits are (id, prompt), or (id, prompt, reason) for one that failed."""
    outcomes = [Outcome(e[0], {"prompt": e[1], "target": "t"}, e[2] if len(e) == 3 else None) for e in edits]
    payload: dict[str, Any] = {"edits": [outcome.to_json() for outcome in outcomes]}
    if any(len(e) == 2 for e in edits):
        payload |= {"patch": f"p{seq}", "sha256": f"sum{seq}"}
    return event(seq, "apply", payload | more, method="grace")


def switch(seq: int, kind: str, *ids: str, **more: Any) -> Event:
    return event(seq, kind, {"ids": list(ids)} | more)


def statuses(state: State) -> dict[str, str]:
    return {id: edit.status for id, edit in state.edits.items()}


def test_no_events_no_state() -> None:
    state = fold([])
    assert (state.head, dict(state.edits), state.units) == (0, {}, ())
    assert state.next_ids(2) == ("e1", "e2")


def test_apply_makes_one_unit_of_the_edits_that_worked() -> None:
    state = fold([apply(1, ("e1", "a"), ("e2", "b", "did not converge"), ("e3", "c"))])
    assert statuses(state) == {"e1": "active", "e2": "failed", "e3": "active"}
    (unit,) = state.units
    assert (unit.seq, unit.method, unit.active, unit.inactive) == (1, "grace", ("e1", "e3"), ())
    assert unit.patch == PatchFile("p1", "sum1")
    assert (state.edits["e2"].reason, state.edits["e2"].unit) == ("did not converge", None)
    assert (state.edits["e3"].seq, state.edits["e3"].unit, state.edits["e3"].target) == (1, 1, "t")


def test_an_apply_in_which_all_failed_leaves_no_unit_but_uses_ids() -> None:
    state = fold([apply(1, ("e1", "a", "no"))])
    assert state.units == ()
    assert state.next_ids(1) == ("e2",)


def test_ids_continue_after_the_highest_and_ignore_names_given_by_hand() -> None:
    assert fold([apply(1, ("e7", "a"), ("paris", "b"), ("e3x", "c"))]).next_ids(2) == ("e8", "e9")


def test_newest_wins_and_undoing_it_brings_the_older_back() -> None:
    history = [apply(1, ("e1", "a"), ("e2", "b")), apply(2, ("e3", "a"))]
    state = fold(history)
    assert statuses(state) == {"e1": "superseded", "e2": "active", "e3": "active"}
    assert state.edits["e1"].superseded_by == "e3"
    assert [(unit.active, unit.inactive) for unit in state.units] == [(("e2",), ("e1",)), (("e3",), ())]
    back = fold([switch(3, "undo", "e3")], state)
    assert statuses(back) == {"e1": "active", "e2": "active", "e3": "undone"}
    assert back.edits["e1"].superseded_by is None


def test_three_of_one_prompt_name_the_newest_that_stands() -> None:
    state = fold([apply(1, ("e1", "a")), apply(2, ("e2", "a")), apply(3, ("e3", "a"))])
    assert [state.edits[id].superseded_by for id in ("e1", "e2", "e3")] == ["e3", "e3", None]
    state = fold([switch(4, "undo", "e3")], state)
    assert (statuses(state)["e2"], state.edits["e1"].superseded_by) == ("active", "e2")


def test_a_superseded_edit_can_be_undone_and_then_stays_away() -> None:
    state = fold([apply(1, ("e1", "a")), apply(2, ("e2", "a"))])
    state = fold([switch(3, "undo", "e1"), switch(4, "undo", "e2")], state)
    assert statuses(state) == {"e1": "undone", "e2": "undone"}


def test_redo_of_the_older_stays_superseded_while_the_newer_stands() -> None:
    state = fold([apply(1, ("e1", "a")), switch(2, "undo", "e1"), apply(3, ("e2", "a"))])
    state = fold([switch(4, "redo", "e1")], state)
    assert statuses(state) == {"e1": "superseded", "e2": "active"}


def test_a_failed_edit_supersedes_nothing() -> None:
    assert statuses(fold([apply(1, ("e1", "a")), apply(2, ("e2", "a", "no"))]))["e1"] == "active"


@pytest.mark.parametrize("other", ["A", "a ", " a"])
def test_prompts_are_compared_exactly(other: str) -> None:
    assert statuses(fold([apply(1, ("e1", "a")), apply(2, ("e2", other))]))["e1"] == "active"


def test_replaced_files_follow_undo_and_redo() -> None:
    refit = [{"unit": 1, "patch": "p1b", "sha256": "sum1b"}]
    original = [{"unit": 1, "patch": "p1", "sha256": "sum1"}]
    state = fold([apply(1, ("e1", "a"), ("e2", "b")), switch(2, "undo", "e1", replaced=refit)])
    assert state.unit(1).patch == PatchFile("p1b", "sum1b")
    assert fold([switch(3, "redo", "e1")], state).unit(1).patch.name == "p1b"
    state = fold([switch(3, "redo", "e1", replaced=original)], state)
    assert state.unit(1).patch == PatchFile("p1", "sum1")
    assert state.files() == {"p1": "sum1", "p1b": "sum1b"}


def test_an_apply_can_join_a_unit_and_replace_the_file_of_another() -> None:
    first = [apply(1, ("e1", "a")), apply(2, ("e2", "b"), ("e3", "c"))]
    refit = [{"unit": 2, "patch": "p2b", "sha256": "sum2b"}]
    state = fold([*first, apply(3, ("e4", "b"), joins=1, replaced=refit)])
    assert [(unit.seq, unit.edits, unit.active, unit.patch.name) for unit in state.units] == [
        (1, ("e1", "e4"), ("e1", "e4"), "p3"),
        (2, ("e2", "e3"), ("e3",), "p2b"),
    ]
    assert (state.edits["e4"].seq, state.edits["e4"].unit) == (3, 1)


def test_undoing_says_what_changes_and_changes_nothing() -> None:
    state = fold([apply(1, ("e1", "a"), ("e2", "b", "no")), apply(2, ("e3", "a"))])
    change = state.undoing(["e3", "e2", "e3"])
    assert (change.ids, dict(change.unchanged), change.seq) == (("e3",), {"e2": "failed"}, None)
    assert [(unit.seq, unit.active) for unit in change.units] == [(1, ("e1",)), (2, ())]
    assert statuses(change.after)["e1"] == "active"
    assert statuses(state)["e1"] == "superseded"


def test_undone_twice_or_redone_while_standing_is_a_quiet_no_op() -> None:
    state = fold([apply(1, ("e1", "a")), switch(2, "undo", "e1"), apply(3, ("e2", "b"))])
    assert (state.undoing(["e1"]).ids, dict(state.undoing(["e1"]).unchanged)) == ((), {"e1": "undone"})
    assert (state.redoing(["e2"]).ids, state.redoing(["e2"]).after) == ((), state)


def test_undoing_a_superseded_edit_touches_no_unit() -> None:
    change = fold([apply(1, ("e1", "a")), apply(2, ("e2", "a"))]).undoing(["e1"])
    assert (change.ids, change.units) == (("e1",), ())


def test_unknown_ids_are_named_with_the_closest() -> None:
    state = fold([apply(1, ("paris", "a"))])
    with pytest.raises(UnknownName, match=r"no edit 'pariss' in this sheet\. Did you mean 'paris'\?"):
        state.undoing(["pariss"])


def test_superseding_names_active_edits_of_the_prompts() -> None:
    state = fold([apply(1, ("e1", "a"), ("e2", "b")), apply(2, ("e3", "a"))])
    assert state.superseding([("a",), ("z",)]) == ("e3",)


@pytest.mark.parametrize(
    "bad",
    [
        event(1, "rename", {}),
        event(1, "apply", {}),
        event(1, "apply", {"edits": [{"id": "e1", "edit": {"prompt": "a"}, "status": "done"}]}),
        event(1, "undo", {"ids": ["e1"]}),
        apply(1, ("e1", "a"), ("e1", "b")),
        apply(1, ("e1", "a"), joins=7),
    ],
)
def test_an_event_that_makes_no_sense_is_reported_by_number(bad: Event) -> None:
    with pytest.raises(BadSheet, match=r"^event 1 of the journal cannot be read .*restore"):
        fold([bad])


def test_a_gap_is_reported() -> None:
    with pytest.raises(BadSheet, match="event 2 of the journal is missing"):
        fold([apply(1, ("e1", "a")), apply(3, ("e2", "b"))])


class Naive:
    """One row per edit: [prompt, unit, switch], the newest row of a prompt that is on wins."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {}

    def status(self, id: str) -> str:
        prompt, _, on = self.rows[id]
        if on != "on":
            return on
        ids = list(self.rows)
        later = [other for other in ids[ids.index(id) + 1 :] if self.rows[other][0] == prompt]
        return "superseded" if any(self.rows[other][2] == "on" for other in later) else "active"


applies = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=3)
switches = st.tuples(st.sampled_from(["undo", "redo"]), st.lists(st.integers(0, 30), min_size=1, max_size=3))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(applies | switches, max_size=20), st.data())
def test_random_histories_agree_with_the_naive_model(steps: Sequence[Any], data: st.DataObject) -> None:
    naive, events, state = Naive(), [], State()
    for step in steps:
        if isinstance(step, list):
            ids = state.next_ids(len(step))
            edits = [(id, p) if ok else (id, p, "no") for id, (p, ok) in zip(ids, step, strict=True)]
            new = apply(state.head + 1, *edits)
            for id, (prompt, ok) in zip(ids, step, strict=True):
                naive.rows[id] = [prompt, new.seq, "on" if ok else "failed"]
        else:
            kind, picks = step
            ids = [id for id in dict.fromkeys(f"e{pick}" for pick in picks) if id in naive.rows]
            change = state.undoing(ids) if kind == "undo" else state.redoing(ids)
            before, after = ("on", "undone") if kind == "undo" else ("undone", "on")
            assert list(change.ids) == [id for id in ids if naive.rows[id][2] == before]
            if not change.ids:
                continue
            new = switch(state.head + 1, kind, *change.ids)
            for id in change.ids:
                naive.rows[id][2] = after
            assert statuses(change.after) == {id: naive.status(id) for id in naive.rows}
        events.append(new)
        state = fold([new], state)
        assert statuses(state) == {id: naive.status(id) for id in naive.rows}
    for unit in state.units:
        mine = [id for id, row in naive.rows.items() if row[1] == unit.seq and row[2] != "failed"]
        assert list(unit.edits) == mine
        assert list(unit.active) == [id for id in mine if naive.status(id) == "active"]
    cut = data.draw(st.integers(0, len(events)))
    assert fold(events) == fold(events[cut:], fold(events[:cut])) == state
