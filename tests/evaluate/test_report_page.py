"""Gathering a report: what results hold, finished or not, and the claims that intervals allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from errata.evaluate.report import tables
from errata.evaluate.report.examples import LAPSED, LEAKED, LOST, MOVED, cases
from errata.evaluate.report.gather import gather
from errata.evaluate.report.page import Page
from errata.evaluate.report.words import apart, comparisons, number, standing, summary
from made_results import add, asked, figure, results, stream, unrelated, whole


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return gather(whole(tmp_path_factory.mktemp("results") / "r"))


def measured(path: Path, protocol: str = "sequential", **reliability: tuple[float, float, float]) -> Page:
    """Methods with one figure each."""
    made = results(path, *[{"method": "ft", "label": label} for label in reliability], protocol=protocol)
    for label, ends in reliability.items():
        add(made, label, {4: {"reliability": figure(*ends)}})
    return gather(made)


def test_work_is_what_the_stream_says(page: Page):
    grace, ft = page.entrants
    assert grace.work is not None
    assert ft.work is not None
    assert (grace.work.asked, grace.work.made, grace.work.failed) == (4, 4, 0)
    assert (grace.work.keys, grace.work.bytes, grace.work.seconds) == (4, 100, 0.5)
    assert (ft.work.made, ft.work.failed, ft.work.bytes) == (3, 1, 400 / 3)
    (failure,) = ft.failures
    assert (failure.request.prompt, failure.request.target) == ("The capital of e4 is", "Paris")
    assert failure.reason == "the target is not reachable"
    assert page.missing == ()
    assert (page.total, page.end) == (4, 4)


def test_batches_that_are_undone_are_counted_together(tmp_path: Path):
    made = results(tmp_path / "r", "grace", protocol="batch", size=2)
    lines = [
        {"ids": ["a", "b"], "right": ["a"], "failed": {}, "keys": 1, "bytes": 10, "seconds": 3.0},
        {"ids": ["c", "d"], "right": [], "failed": {}, "keys": 2, "bytes": 20, "seconds": 4.0},
        {"ids": ["e", "f"], "right": ["e", "f"], "failed": {}, "keys": 0, "bytes": 0, "seconds": 0.0},
    ]
    add(made, "grace", {2: {"reliability": figure(1.0)}}, lines=lines)
    (grace,) = gather(made).entrants
    assert grace.work is not None
    assert (grace.work.asked, grace.work.right, grace.work.made) == (6, 3, 3)
    assert (grace.work.keys, grace.work.bytes) == (3, 10.0)
    assert grace.work.seconds == 2.5, "median of 3 and 2: a batch that was right already took no time"
    assert "with 6 edits, each 2 made on the model as it came" in summary(gather(made))[0]


def test_the_disabling_edit_is_the_first_above_twice_the_start_for_good(page: Page):
    grace, ft = page.entrants
    assert page.start == 100, "what was seen before any edit"
    assert grace.collapse is None
    assert ft.collapse is not None
    assert (ft.collapse.edits, ft.collapse.perplexity) == (3, 250)
    told = " ".join(summary(page))
    assert "ft collapsed: after 3 edits perplexity is 250" in told
    assert "the disabling edit is e3 (The capital of e3 is → Paris)" in told
    assert "grace collapsed" not in told


@pytest.mark.parametrize(
    ("seen", "after"),
    [
        ([100, 300, 150, 190], None), ([100, 300, 150, 201], 4), ([100, 300, float("nan"), 300], 2),
        ([100, 200, 200, 200], None), ([300, 300, 300, 300], 1),
    ],
)
def test_a_model_that_recovers_has_not_collapsed(tmp_path: Path, seen: list[float], after: int | None):
    made = results(tmp_path / "r", "ft")
    add(made, "ft", {4: {"reliability": figure(0.5)}}, lines=stream(4, seen))
    (ft,) = gather(made).entrants
    assert (ft.collapse.edits if ft.collapse else None) == after


def test_between_two_looks_the_disabling_edit_is_one_of_several(tmp_path: Path):
    made = results(tmp_path / "r", "ft", monitor=2)
    lines = stream(5, [100, 0, 110, 0, 500])
    for line in lines[1::2]:
        del line["perplexity"]
    add(made, "ft", {5: {"reliability": figure(0.5)}}, lines=lines)
    assert "one of 2, from e4 to e5" in " ".join(summary(gather(made)))


def test_above_is_said_only_where_intervals_do_not_touch(tmp_path: Path):
    told = summary(measured(tmp_path / "a", a=(0.9, 0.8, 0.95), b=(0.7, 0.6, 0.79), c=(0.85, 0.7, 0.9)))
    claim = "a answers 90.0% of the edited prompts with the target, more than b (70.0%); c (85.0%) is not told apart"
    assert any(sentence.startswith(claim) for sentence in told)
    told = " ".join(summary(measured(tmp_path / "b", a=(0.9, 0.8, 0.95), b=(0.7, 0.6, 0.80))))
    assert "more than" not in told
    assert "b (70.0%) is not told apart from it" in told
    told = " ".join(summary(measured(tmp_path / "c", a=(0.9, 0.8, 0.95))))
    assert "a answers 90.0% of the edited prompts with the target." in told
    assert "95 %" not in told, "with one method nothing is compared"


def test_only_the_best_that_is_told_apart_from_all_is_bold(tmp_path: Path):
    def bold(page: Page) -> list[str]:
        table = tables.final(page)
        assert table is not None
        return [name for name, cells in table.rows if cells[0].best]

    assert bold(measured(tmp_path / "a", a=(0.9, 0.8, 0.95), b=(0.7, 0.6, 0.79))) == ["a"]
    touched = measured(tmp_path / "b", a=(0.9, 0.8, 0.95), b=(0.7, 0.6, 0.79), c=(0.6, 0.3, 0.85))
    assert bold(touched) == [], "the next by value is apart, but c touches a"
    assert bold(measured(tmp_path / "c", a=(0.9, 0.8, 0.95))) == [], "better than nobody"


def test_lower_is_better_where_the_metric_says_so(page: Page):
    found = standing(page, "perplexity.change")
    assert found is not None
    assert found.best[0].label == "grace"
    assert "grace changes perplexity on general text by +0.0%, less than ft (+150.0%)." in comparisons(page)


def test_an_interval_of_width_nought_reaches_as_far_as_the_rule_of_three():
    nothing, little = figure(0.0, 0.0, 0.0, n=30), figure(0.05, 0.02, 0.09, n=30)
    assert not apart(nothing, little), "0 of 30 may be up to a tenth"
    assert apart(figure(0.0, 0.0, 0.0, n=300), little)


def test_damage_and_what_teacher_forcing_hides_are_said(page: Page):
    told = " ".join([*summary(page), *comparisons(page)])
    assert "ft broke what no edit is about: right answers to it fell from 92.0% to 30.0%." in told
    assert "grace broke" not in told, "90 % and 92 % are not told apart"
    assert "Teacher forcing would report 75.0% for ft; freely generated, 50.0% are the target." in told
    assert "for grace; freely" not in told


def test_examples_are_the_plainest_of_each_sort_in_turn():
    answers = [
        asked("e1", "Paris"), asked("e2", "Lyon"), asked("e3", "no"),
        unrelated("kept", "Madrid", "Madrid"), unrelated("moved", "b", "a", nll=99),
        unrelated("lost", "b", "a", expected="a", nll=2), unrelated("lost more", "b", "a", expected="a", nll=3),
        unrelated("leaked", "Paris", "a", expected="a", rival="Paris"),
    ]  # fmt: skip
    found = [(case.why, case.prompt) for case in cases(answers, failed={"e3"})]
    assert found == [
        (LAPSED, "The capital of e2 is"), (LEAKED, "leaked"), (LOST, "lost more"), (LOST, "lost"), (MOVED, "moved"),
    ]  # fmt: skip
    assert len(cases(answers, failed=(), most=2)) == 2


def test_a_sweep_is_one_numeric_option_that_differs(tmp_path: Path):
    methods = [
        "grace", {"method": "grace", "radius": "4"}, {"method": "grace", "radius": 8},
        {"method": "grace", "radius": 8, "steps": 7}, {"method": "grace", "seed": 3}, "ft",
    ]  # fmt: skip
    made = results(tmp_path / "r", *methods)
    for contender in made.recipe.methods:
        add(made, contender.label, {4: {"reliability": figure(0.5)}})
    swept = {sweep.option: sweep.points for sweep in gather(made).sweeps}
    assert set(swept) == {"radius", "steps"}
    assert swept["radius"] == ((1.0, "grace"), (4.0, "grace radius=4"), (8.0, "grace radius=8")), "the default counts"
    assert [label for _, label in swept["steps"]] == ["grace radius=8 steps=7", "grace radius=8"]


def test_the_hardest_single_edits_come_first(tmp_path: Path):
    made = results(tmp_path / "r", "ft", protocol="single")
    add(made, "ft", {1: {"reliability": figure(0.5)}}, lines=stream(4, [100, 900, float("nan"), 300]))
    page = gather(made)
    table = tables.hardest(page)
    assert table is not None
    assert [name for name, _ in table.rows] == ["e3", "e2", "e4", "e1"]
    assert [cell.text for cell in table.rows[1][1]] == ["ft", "900", "×9"]
    assert page.entrants[0].collapse is None, "each edit has the model for itself"


def test_results_that_are_not_finished_are_reported_with_what_is_missing(tmp_path: Path):
    made = results(tmp_path / "r", "grace", "ft", "ft-l", "lora")
    add(made, "grace", {1: {"reliability": figure(0.5)}, 4: {"reliability": figure(0.9)}})
    add(made, "ft", {1: {"reliability": figure(1.0)}}, lines=stream(2), finished=False)
    made.run(made.recipe.methods[2]).note_problem("edits no such model")
    page = gather(made)
    assert page.missing == (
        "ft has seen 2 of 4 edits and is not finished", "ft-l could not be run: edits no such model",
        "lora has not been started",
    )  # fmt: skip
    assert [entrant.label for entrant in page.compared] == ["grace"], "ft was measured earlier in the stream"
    table = tables.final(page)
    assert table is not None
    assert [name for name, _ in table.rows] == ["grace", "ft (after 1 edit)"]
    empty = gather(results(tmp_path / "empty"))
    assert summary(empty) == ["Nothing has been measured yet."]
    assert tables.final(empty) is None


def test_numbers_are_written_by_what_they_are():
    assert [number("reliability", 0.5), number("perplexity.change", 0.5)] == ["50.0%", "+50.0%"]
    assert [number("perplexity", 123.456), number("perplexity.change", 999.0)] == ["123", "×1,000"]
    assert number("perplexity.change", 1e30) == "×1e+30"
