"""Running recipes: the same figures twice, and after an interrupt; nothing finished is lost or run again."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
from benches import edits_file, recipe

from errata.edit_files import write_edits
from errata.editor import Editor
from errata.edits import Edit
from errata.errors import BadConfig, BadEdit, BadModel, UnknownName
from errata.evaluate.evidence import Answer
from errata.evaluate.results import Results, read_lines
from errata.evaluate.runner import run
from errata.methods.grace import Grace
from forks import forks

pytestmark = pytest.mark.xdist_group("forks")


def measured(path: Path, label: str = "grace") -> dict[str, Any]:
    """Everything a run wrote but times."""
    folder = path / "runs" / label
    timed = ("timings.json", "stream.jsonl")
    kept = {file.name: file.read_bytes() for file in folder.iterdir() if file.name not in timed}
    stream = [json.loads(line) for line in (folder / "stream.jsonl").read_text().splitlines()]
    return kept | {"stream": [{k: v for k, v in line.items() if k != "seconds"} for line in stream]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small recipe, run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    run(recipe(folder), folder / "out")
    return folder


def test_every_figure_can_be_traced_to_its_prompts(whole: Path):
    results = Results.open(whole / "out")
    (contender,) = results.recipe.methods
    measured = results.run(contender)
    assert [row["edits"] for row in measured.figures()] == [2, 4]
    answers = [Answer.from_json(row) for row in measured.answers(4) or []]
    own = [answer for answer in answers if answer.question.kind == "reliability"]
    assert len(own) == 4
    figure = measured.figures()[-1]["figures"]["reliability"]
    assert figure["value"] == sum(a.said == a.question.expected for a in own) / 4 == 1.0
    assert figure["n"] == 4
    assert figure["low"] < 1.0, "four successes do not prove certainty"


def test_the_same_recipe_gives_the_same_bytes(whole: Path, tmp_path: Path):
    run(recipe(whole), tmp_path / "again")
    assert measured(tmp_path / "again") == measured(whole / "out")


def test_methods_run_at_a_time_say_the_same_as_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    processes = forks()
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: processes)
    two = recipe(tmp_path, methods=["grace", "ft-l"], n=1, checkpoints=[])
    run(two, tmp_path / "one")
    results = run(two, tmp_path / "two", jobs=2)
    assert not results.problems()
    for contender in two.methods:
        assert results.run(contender).finished
        assert measured(tmp_path / "two", contender.label) == measured(tmp_path / "one", contender.label)


@pytest.mark.parametrize("broken", [2, 3])
def test_an_interrupted_run_goes_on_to_the_same_figures(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
):
    calls = 0
    real = Editor.edit

    def interrupted(self: Editor, *args: Any, **options: Any):
        nonlocal calls
        calls += 1
        if calls == broken:
            real(self, *args, **options)  # the edit is on the sheet, and its line not yet in the stream
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Editor, "edit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(whole), tmp_path / "out")
    with (tmp_path / "out/runs/grace/stream.jsonl").open("a") as file:
        file.write('{"ids": ["torn')
    run(recipe(whole), tmp_path / "out", resume=True)
    assert measured(tmp_path / "out") == measured(whole / "out")
    assert calls == 4, "no edit is made twice"


def test_what_is_finished_is_not_run_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(whole / "out", tmp_path / "out")
    before = measured(tmp_path / "out")
    made: list[str] = []
    real = Editor.edit

    def noted(self: Editor, edits: Any, method: str = "grace", **options: Any):
        made.append(str(options.get("radius")))
        return real(self, edits, method, **options)

    monkeypatch.setattr(Editor, "edit", noted)
    more = recipe(whole, methods=["grace", {"method": "grace", "label": "wide", "radius": 4.0}])
    results = run(more, tmp_path / "out", resume=True)
    assert set(made) == {"4.0"}
    assert measured(tmp_path / "out") == before
    assert [contender.label for contender in results.recipe.methods] == ["grace", "wide"]


def test_results_of_other_settings_are_refused(whole: Path):
    before = measured(whole / "out")
    with pytest.raises(BadConfig, match="seed was 0, not 1"):
        run(recipe(whole, seed=1), whole / "out", resume=True)
    with pytest.raises(BadConfig, match="--resume"):
        run(recipe(whole), whole / "out")
    assert measured(whole / "out") == before


def test_a_directory_of_something_else_is_refused(whole: Path, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadConfig, match="not empty"):
        run(recipe(whole), tmp_path)


def test_edits_of_another_file_under_the_same_name_are_refused(tmp_path: Path):
    small = {"n": 1, "texts": 0, "upstream_n": 1}
    run(recipe(tmp_path, **small), tmp_path / "out")
    edits_file(tmp_path / "edits.jsonl", 5)
    different = recipe(tmp_path, **small)
    edits_file(tmp_path / "edits.jsonl", 9)
    with pytest.raises(BadConfig, match="another data"):
        run(different, tmp_path / "out", resume=True)


def test_only_errors_become_edits(tmp_path: Path):
    from errata import datasets

    fact = datasets.get("lab-facts").upstream()[0]
    edit = datasets.get("counterfact-lab").edits()[0]
    write_edits(tmp_path / "mixed.jsonl", [Edit(fact.prompt, str(fact.answer), id="known"), edit])
    options = {"dataset": str(tmp_path / "mixed.jsonl"), "errors_only": True, "texts": 0}
    results = run(recipe(tmp_path, **options), tmp_path / "out")
    stream = results.run(results.recipe.methods[0]).stream()
    assert [line["right"] for line in sorted(stream, key=lambda line: line["ids"] != ["known"])] == [["known"], []]
    assert stream[-1]["keys"] == 1


@pytest.mark.parametrize(("protocol", "size", "batches"), [("single", 1, 4), ("batch", 2, 2)])
def test_batches_start_from_the_model_as_it_came(tmp_path: Path, protocol: str, size: int, batches: int):
    results = run(recipe(tmp_path, protocol=protocol, size=size, texts=0), tmp_path / "out")
    measured = results.run(results.recipe.methods[0])
    assert len(measured.stream()) == batches
    assert all(line["keys"] == size for line in measured.stream()), "no key of an earlier batch is left"
    (row,) = measured.figures()
    assert row["figures"]["reliability"]["n"] == 4


def test_a_method_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = Grace.fit

    def picky(self: Grace, *args: Any):
        if self.config.radius == 2.0:
            raise BadModel("this model has no such block; choose another")
        return real(self, *args)

    monkeypatch.setattr(Grace, "fit", picky)
    both = recipe(tmp_path, methods=[{"method": "grace", "radius": 2.0}, "grace"], n=1, texts=0)
    results = run(both, tmp_path / "out")
    assert results.problems() == {"grace radius=2.0": "this model has no such block; choose another"}
    assert results.run(both.methods[1]).figures()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"methods": ["graec"]}, UnknownName, "Did you mean 'grace'"),
        ({"methods": [{"method": "grace", "radios": 2}]}, BadConfig, "Did you mean 'radius'"),
        ({"metrics": ["reliabilty"]}, UnknownName, "Did you mean 'reliability'"),
        ({"dataset": "counterfakt"}, UnknownName, "Did you mean 'counterfact"),
        ({"n": 99}, BadEdit, "has 4 edits, and n is 99"),
        ({"upstream": "zsre"}, BadEdit, "no upstream questions"),
        ({"shifts": ["tipos"]}, UnknownName, "typo"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        run(recipe(tmp_path, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_the_unedited_model_says_is_kept(whole: Path):
    rows = read_lines(whole / "out/before.jsonl.gz")
    assert rows
    assert all(row["said"] for row in rows)


def test_the_unedited_model_is_looked_at_before_the_first_edit(tmp_path: Path):
    results = run(recipe(tmp_path, methods=["ft"], monitor=1, n=2), tmp_path / "out")
    first, second = results.run(results.recipe.methods[0]).stream()
    assert first["perplexity_before"] != first["perplexity"] != second["perplexity"]
    assert "perplexity_before" not in second
