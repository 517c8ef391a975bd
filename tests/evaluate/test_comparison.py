"""Comparisons: a wrong one is refused, parts run apart and go on after an interrupt, and a page says what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benches import edits_file

from errata.editor import Editor
from errata.errors import BadConfig, ErrataError, UnknownName
from errata.evaluate.comparison.folder import Folder, is_comparison
from errata.evaluate.comparison.page import Report, gathered, write
from errata.evaluate.comparison.plan import Comparison
from errata.evaluate.comparison.run import check, conduct
from errata.evaluate.recipe import read
from errata.evaluate.report.gather import gather
from errata.evaluate.results import Results
from made_results import add, figure, stream
from tiny import tiny_model

PART: dict[str, Any] = {"name": "one", "model": "lab:gpt", "dataset": "lab-counterfacts"}
GOOD: dict[str, Any] = {"study": "comparison", "methods": ["grace", {"method": "grace", "radius": 8}], "parts": [PART]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metods": []}, "Did you mean 'methods'"),
        ({"parts": []}, "has no parts"),
        ({"parts": PART}, "'parts' must be a list"),
        ({"parts": ["one"]}, "a part is a mapping with 'name'"),
        ({"parts": [PART | {"sise": 3}]}, "part 'one': a recipe has no 'sise'. Did you mean 'size'"),
        ({"parts": [PART | {"methods": []}]}, "part 'one': the recipe names no method"),
        ({"parts": [PART, PART | {"n": 3}]}, "two parts share a name"),
        ({"parts": [PART | {"name": "a/b"}]}, "a part cannot be called 'a/b'"),
        ({"parts": [PART | {"name": ".."}]}, "a part cannot be called"),
        ({"parts": [PART | {"name": "report"}]}, "a part cannot be called 'report'"),
    ],
)
def test_a_wrong_comparison_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(BadConfig, match=message.replace("(", r"\(")):
        Comparison.of(GOOD | changes)


def test_methods_are_checked_before_anything_is_loaded():
    with pytest.raises(UnknownName, match=r"part 'one': unknown method 'graec'.*grace"):
        check(Comparison.of(GOOD | {"methods": ["graec"]}))


def test_a_comparison_survives_its_own_json():
    plan = Comparison.of(GOOD | {"title": "Two", "parts": [PART, PART | {"name": "two", "methods": ["ft"], "n": 3}]})
    assert [[c.label for c in part.recipe.methods] for part in plan.parts] == [["grace", "grace radius=8"], ["ft"]]
    assert Comparison.of(plan.to_json()) == plan


def test_it_can_be_narrowed_to_methods_and_fewer_edits():
    few, other = {"name": "two", "methods": ["ft", "grace"], "n": 3}, {"name": "three", "methods": ["ft"]}
    plan = Comparison.of(GOOD | {"parts": [PART, PART | few, PART | other]})
    told = [(p.name, [c.label for c in p.recipe.methods], p.recipe.n) for p in plan.narrowed(["grace"], 5).parts]
    assert told == [("one", ["grace", "grace radius=8"], 5), ("two", ["grace"], 3)]
    assert [p.name for p in plan.narrowed(["grace radius=8"]).parts] == ["one"]
    assert plan.narrowed() == plan
    assert [p.name for p in plan.narrowed(["ft"], parts=["three", "one"]).parts] == ["three"]
    with pytest.raises(UnknownName, match="unknown part 'tow'"):
        plan.narrowed(parts=["tow"])
    with pytest.raises(UnknownName, match="Did you mean 'grace'"):
        plan.narrowed(["graec"])


def test_the_packaged_comparison_is_sound():
    plan = Comparison.of(read("everything"))
    check(plan)
    assert len({part.recipe.model for part in plan.parts}) == 3
    assert {part.recipe.protocol for part in plan.parts} == {"sequential", "batch", "single"}
    assert all({"chain", "grace", "ft", "wise", "memoir"} <= {c.label for c in p.recipe.methods} for p in plan.parts)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two edits of a tiny model under two protocols, and between them a part without data."""
    folder = tmp_path_factory.mktemp("comparison")
    tiny = tiny_model("gpt2")
    tiny.model.save_pretrained(folder / "model")
    tiny.tokenizer.save_pretrained(folder / "model")
    some: dict[str, Any] = {
        "model": str(folder / "model"), "dataset": str(edits_file(folder / "edits.jsonl", 3)), "n": 2,
        "texts": 0, "max_new_tokens": 2, "metrics": ["reliability", "locality"],
    }  # fmt: skip
    return {
        "study": "comparison", "title": "Tiny",
        "methods": [{"method": "grace", "label": "grace", "steps": 2}, {"method": "ft", "label": "ft", "steps": 1}],
        "parts": [
            some | {"name": "stream", "checkpoints": [1]},
            some | {"name": "absent", "dataset": "nowhere.jsonl"},
            some | {"name": "alone", "protocol": "single", "methods": [{"method": "ft", "label": "ft", "steps": 1}]},
        ],
    }  # fmt: skip


def measured(path: Path) -> dict[str, bytes]:
    """Every figure and answer of every part."""
    files = [*path.glob("*/runs/*/figures.json"), *path.glob("*/runs/*/answers*")]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def whole(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return conduct(Comparison.of(values), tmp_path_factory.mktemp("whole") / "out")


def test_every_part_is_an_ordinary_benchmark_and_one_that_cannot_be_run_is_told(whole: Folder):
    assert is_comparison(whole.path)
    assert list(whole.problems()) == ["absent"]
    assert "nowhere.jsonl" in whole.problems()["absent"]
    runs = {"stream/runs/grace", "stream/runs/ft", "alone/runs/ft"}
    assert {str(Path(name).parent) for name in measured(whole.path)} == runs
    assert [entrant.state for entrant in gather(Results.open(whole.path / "stream")).entrants] == ["finished"] * 2
    told = {section.name: section.missing for section in gathered(Folder.open(whole.path)).sections}
    assert told["stream"] == told["alone"] == ()
    assert told["absent"][0].startswith("It could not be run: nowhere.jsonl")


@pytest.mark.parametrize("broken", [2, 5])
def test_an_interrupted_comparison_goes_on_to_the_same_figures(
    values: dict[str, Any], whole: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
):
    calls = 0
    real = Editor.edit

    def interrupted(self: Editor, *args: Any, **options: Any):
        nonlocal calls
        calls += 1
        if calls == broken:
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Editor, "edit", interrupted)
    plan = Comparison.of(values)
    with pytest.raises(KeyboardInterrupt):
        conduct(plan, tmp_path / "out")
    with pytest.raises(BadConfig, match="--resume"):
        conduct(plan, tmp_path / "out")
    conduct(plan, tmp_path / "out", resume=True)
    assert calls == 7, "two edits by each of three, and the one that was interrupted"
    assert measured(tmp_path / "out") == measured(whole.path)


def test_a_resumed_comparison_may_gain_parts_and_methods_and_change_nothing_else(tmp_path: Path):
    fewer = Comparison.of(GOOD | {"methods": ["grace"]})
    Folder.start(tmp_path, fewer, resume=False)
    more = Comparison.of(GOOD | {"parts": [PART, PART | {"name": "two"}]})
    plan = Folder.start(tmp_path, more, resume=True).plan
    assert plan == Folder.open(tmp_path).plan == more
    assert Folder.start(tmp_path, fewer, resume=True).plan == more
    with pytest.raises(BadConfig, match="seed was 0, not 1"):
        Folder.start(tmp_path, Comparison.of(GOOD | {"parts": [PART | {"seed": 1}]}), resume=True)
    assert Folder.open(tmp_path).plan == more


def test_a_directory_of_something_else_is_refused(tmp_path: Path, whole: Folder):
    with pytest.raises(ErrataError, match="no comparison"):
        Folder.start(whole.path / "stream", whole.plan, resume=True)
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadConfig, match="not empty"):
        Folder.start(tmp_path, whole.plan, resume=False)
    with pytest.raises(BadConfig, match="no comparison"):
        Folder.open(tmp_path)


def figures(harmonic: float, reliability: float, n: int = 400) -> dict[str, Any]:
    """What a method of the made comparison has at a checkpoint; intervals reach 0.05 to either side."""
    held = {"harmonic": figure(harmonic, n=n), "reliability": figure(reliability), "locality.neighbour": figure(0.25)}
    return held | {"locality": figure(0.5), "perplexity.change": figure(0.0, 0.0, 0.0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Four edits one after another by four methods, of which one stopped, and in a batch by one; a part not begun."""
    parts = [
        PART | {"name": "stream", "n": 4, "methods": ["grace", "ft", "lora", "rome"]},
        PART | {"name": "batch", "n": 4, "protocol": "batch", "size": 2, "methods": ["grace", "ft"]},
        PART | {"name": "later", "methods": ["grace"]},
    ]  # fmt: skip
    plan = Comparison.of({"study": "comparison", "title": "Made | up", "parts": parts})
    folder = Folder.start(tmp_path_factory.mktemp("made") / "out", plan, resume=False)
    streamed, batched = (folder.results(part) for part in plan.parts[:2])
    calm, ruined = [100.0] * 4, [100.0, 300.0, 300.0, 300.0]
    add(streamed, "grace", {1: figures(1, 1), 4: figures(0.9, 0.96)}, lines=stream(4, calm))
    add(streamed, "ft", {1: figures(1, 1), 4: figures(0.7, 0.75)}, lines=stream(4, ruined))
    add(streamed, "lora", {1: figures(1, 1), 4: figures(0.4, 0.4)}, lines=stream(4, calm))
    add(streamed, "rome", {1: figures(1, 1)}, lines=stream(2, calm), finished=False)
    add(batched, "grace", {2: figures(0.62, 0.5)})
    add(batched, "ft", {2: {"reliability": figure(0.5), "harmonic": figure(0.6)}})
    return folder


@pytest.fixture(scope="module")
def found(made: Folder) -> Report:
    return gathered(made)


def test_conclusions_say_what_the_figures_say(found: Report):
    told = {section.name: section.conclusions for section in found.sections}
    assert told["stream"] == (
        "After 4 edits the highest harmonic mean is that of grace, 90.0% [85.0, 95.0], apart from the next, "
        "ft (70.0% [65.0, 75.0]).",
        "Reliability is 95.0% or more with grace (96.0%).",
        "ft (after 2 edits) collapsed.",
        "Measured earlier in the stream alone, and not held against the others: rome (after 1 edit).",
    )
    assert told["batch"] == (
        "Over 4 edits, 2 at a time, the highest harmonic mean is that of grace, 62.0% [57.0, 67.0], not told apart "
        "from ft (60.0% [55.0, 65.0]).",
        "Reliability is 95.0% or more with no method.",
    )
    assert told["later"] == ("Nothing has been measured yet.",)


def test_the_table_says_after_how_many_edits(found: Report):
    table = found.sections[0].table
    assert table is not None
    assert table.head == (
        "Method", "Edits", "Reliability", "Neighbours", "Locality", "Perplexity change", "Harmonic mean",
        "Bytes an edit", "Seconds an edit (median)",
    )  # fmt: skip
    rows = {name: [cell.text for cell in cells] for name, cells in table.rows}
    assert rows["grace"] == ["4", "96.0%", "25.0%", "50.0%", "+0.0%", "90.0%", "100", "0.500"]
    assert [(cells[0].text, cells[0].note) for name, cells in table.rows if name == "rome"] == [("1", "of 4")]
    best = [(name, cell.text) for name, cells in table.rows for cell in cells if cell.best]
    assert best == [("grace", "96.0%"), ("grace", "90.0%")]
    assert found.sections[0].missing == ("rome has seen 2 of 4 edits and is not finished",)


def test_one_page_with_a_table_and_a_picture_a_part(found: Report, tmp_path: Path):
    files = write(found, tmp_path)
    assert [file.name for file in files] == found.names
    assert found.names == ["report.html", "report.md", "report.json", "stream.png", "batch.png"]
    html, markdown, data = (file.read_text() for file in files[:3])
    assert "<h1>Made | up</h1>" in html
    assert html.count("<table") == 2
    assert html.count("<svg") == 4, "three panels over the stream, and one of the batch"
    assert len({part.split('"')[0] for part in html.split(' id="')[1:]}) == html.count(' id="'), "no id twice"
    assert markdown.count("| Method | Edits |") == 2
    assert "](stream.png)" in markdown
    assert "# Made \\| up" in markdown
    rows = json.loads(data)["parts"]
    assert [row["name"] for row in rows] == ["stream", "batch", "later"]
    assert rows[0]["entrants"][1]["collapse"]["edits"] == 2
    assert tuple(rows[0]["conclusions"]) == found.sections[0].conclusions
