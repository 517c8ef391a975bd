"""Canonical examples, read from a folder in the published form."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, cast

import pytest
from published import save_lines

from errata import datasets
from errata.datasets import Example
from errata.datasets._canonical import Canonical
from errata.datasets._canonical_files import Published
from errata.edits import Edit, Probe
from errata.errors import BadEdit

TASKS = [name for name in datasets.names() if name.startswith("canonical-")]


def country(prefix: str, suffix: str, name: str) -> dict[str, Any]:
    return {"country": name, "prefix": prefix, "suffix": suffix, "clear_document": prefix + suffix}


@pytest.fixture
def capitals(tmp_path: Path) -> Path:
    """The published folder `data/` with the test files of country_capital: two countries."""
    split = tmp_path / "data" / "country_capital" / "split"
    save_lines(
        split / "country_capital_fixed-test.jsonl",
        country("The capital of France is", " Paris", "France"),
        country("The capital of Benin is", " Porto-Novo", "Benin"),
        country("The capital of Benin is", " Cotonou", "Benin"),
    )
    save_lines(
        split / "country_capital_clear_eval-test.jsonl",
        country("In France all roads lead to", " Paris", "France"),
        country("France is governed from", " Versailles", "France"),
        country("Benin is governed from", " Cotonou", "Benin"),
    )
    save_lines(
        split / "country_capital_hard_neg-test.jsonl",
        country("In France, films are shown at", " Cannes", "France"),
        country("Oranges grow near", " Seville", "Spain"),
        country("Lemons grow near", " Palermo", "Italy"),
        country("Dates grow near", " Tozeur", "Tunisia"),
    )
    save_lines(split / "country_capital_unconditional-test.jsonl", {"text": "<|endoftext|> The capital of France."})
    return tmp_path / "data"


def opened(task: str, path: Path) -> Published:
    return cast(Published, datasets.open(f"canonical-{task}={path}"))


def test_the_six_tasks_are_listed_and_none_is_in_the_package():
    assert len(TASKS) == 6
    for name in TASKS:
        task = datasets.get(name)
        assert (task.path, task.licence) == (None, "none stated")
        with pytest.raises(BadEdit, match=f"'{name}' is not in the package .* write {name}=PATH"):
            task.examples()


@pytest.mark.parametrize("inner", ["", "country_capital", "country_capital/split"])
def test_any_of_the_published_folders_will_do(capitals: Path, inner: str):
    assert len(opened("country-capital", capitals / inner).examples()) == 3


def test_a_gzipped_file_will_do(capitals: Path):
    path = capitals / "country_capital" / "split" / "country_capital_clear_eval-test.jsonl"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert len(opened("country-capital", capitals).examples()) == 3


def test_examples_of_each_part(capitals: Path):
    task = opened("country-capital", capitals)
    assert task.examples()[0] == Example("In France all roads lead to", ("Paris",), 0, subject="France", kind="eval")
    assert task.examples("train")[0].prompt == "The capital of France is"
    assert task.examples("hard_negatives")[1] == Example("Oranges grow near", ("Seville",), 0, kind="hard_negatives")
    assert task.examples("text") == [Example("", ("The capital of France.",), 0, kind="text")]
    assert task.rows("train")[2]["suffix"] == " Cotonou"


def test_edits_take_up_what_is_evaluated_of_their_subject(capitals: Path):
    assert opened("country-capital", capitals).edits() == [
        Edit(
            "The capital of France is",
            "Paris",
            subject="France",
            rephrases=("In France all roads lead to",),
            locality=(
                Probe("In France, films are shown at", "Cannes", "hard_negative"),
                Probe("Oranges grow near", "Seville", "hard_negative"),
            ),
            goal="raise",
        ),
        Edit(
            "The capital of Benin is",
            "Porto-Novo",
            subject="Benin",
            locality=(Probe("Lemons grow near", "Palermo", "hard_negative"),),
            portability=(Probe("Benin is governed from", "Cotonou", "eval"),),
            goal="raise",
        ),
        Edit(
            "The capital of Benin is",
            "Cotonou",
            subject="Benin",
            rephrases=("Benin is governed from",),
            locality=(Probe("Dates grow near", "Tozeur", "hard_negative"),),
            goal="raise",
        ),
    ]


@pytest.mark.parametrize(
    ("task", "files", "goal", "rival"),
    [
        ("pronoun-gender-bias", ("train", "hard_neg_eval"), "balance", "she"),
        ("verb-conjugation", ("train", "hard_neg_eval"), "contrast", "she"),
        ("stereoset", ("train", "hard_neg"), "lower", None),
    ],
)
def test_every_goal_becomes_edits(tmp_path: Path, task: str, files: tuple[str, str], goal: str, rival: str | None):
    stem = task.replace("-", "_")
    shown = {"suffix1": " he", "suffix2": " she"} if rival else {"suffix": " he"}
    save_lines(tmp_path / f"{stem}_{files[0]}-val.jsonl", {"prefix": "The cook said that", **shown})
    save_lines(tmp_path / f"{stem}_{files[1]}-val.jsonl", {"prefix": "My aunt cooks, and", "suffix": " she"})
    [edit] = opened(task, tmp_path).edits("val")
    assert (edit.target, edit.goal, edit.rival) == ("he", goal, rival)
    assert edit.locality == (Probe("My aunt cooks, and", "she", "hard_negative"),)


def test_goals_and_thresholds_are_the_papers():
    tasks = [cast(Canonical, datasets.get(name)) for name in TASKS]
    assert {task.name: (task.goal, round(task.threshold, 3)) for task in tasks} == {
        "canonical-country-capital": ("raise", 1.609),
        "canonical-company-ceo": ("raise", 2.996),
        "canonical-temporal": ("raise", 2.996),
        "canonical-stereoset": ("lower", 6.908),
        "canonical-pronoun-gender-bias": ("balance", 0.405),
        "canonical-verb-conjugation": ("contrast", 2.773),
    }


@pytest.mark.parametrize(
    ("task", "file", "record", "choices", "gold"),
    [
        ("pronoun-gender-bias", "eval", {"prefix": "A", "suffix1": " he", "suffix2": " she"}, ("he", "she"), None),
        ("verb-conjugation", "eval", {"prefix": "A", "suffix1": " run", "suffix2": " runs"}, ("run", "runs"), 0),
        ("stereoset", "eval_clear", {"prefix": "A", "suffix": " smart"}, ("smart",), None),
    ],
)
def test_what_is_right_depends_on_the_goal(
    tmp_path: Path, task: str, file: str, record: dict[str, Any], choices: tuple[str, ...], gold: int | None
):
    save_lines(tmp_path / f"{task.replace('-', '_')}_{file}-val.jsonl", record)
    dataset = opened(task, tmp_path)
    assert dataset.examples(split="val") == [Example("A", choices, gold, kind="eval")]
    assert dataset.holds == "edits, examples"


def test_examples_stand_with_whom_they_are_about(capitals: Path):
    pairs = opened("country-capital", capitals).grouped("hard_negatives")
    assert [about for about, _ in pairs] == ["France", "Spain", "Italy", "Tunisia"]


def test_a_missing_file_is_named(capitals: Path):
    with pytest.raises(BadEdit, match=r"no country_capital_clear_eval-val\.jsonl in it, nor in country_capital/split/"):
        opened("country-capital", capitals).examples(split="val")


def test_a_bad_record_is_named_by_file_and_line(tmp_path: Path):
    path = save_lines(tmp_path / "country_capital_clear_eval-test.jsonl", {"prefix": "A", "country": "B"})
    with pytest.raises(BadEdit) as caught:
        opened("country-capital", tmp_path).examples()
    assert str(caught.value).startswith(f"{path}:1: 'suffix1' is missing")
