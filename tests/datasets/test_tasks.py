"""Labelled examples: what the sets of the package hold, and how a record that is none is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from published import save_lines

from errata import datasets
from errata.datasets import Example, Task
from errata.datasets._base import choice_of
from errata.errors import BadEdit

SHIPPED = ["blimp", "convsent", "fever", "known-1000", "stereoset"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_task_holds_the_examples_it_claims(name: str):
    task = datasets.get(name)
    examples = task.examples()
    assert isinstance(task, Task)
    assert task.holds == "examples"
    assert len(examples) == task.records == len(task.rows())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_task_has_no_edits(name: str):
    with pytest.raises(BadEdit, match=f"data set '{name}' holds examples and no edits"):
        datasets.get(name).edits()


def test_edits_are_no_examples():
    with pytest.raises(BadEdit, match="data set 'zsre' holds edits and no labelled examples"):
        datasets.get("zsre").examples()


def test_known_1000_names_the_subject_as_the_prompt_does():
    examples = datasets.get("known-1000").examples()
    assert examples[0] == Example(
        prompt="Vinson Massif is located in the continent of",
        choices=("Antarctica",),
        gold=0,
        subject="Vinson Massif",
        kind="P30",
        id="0",
    )
    assert all(example.subject and example.subject in example.prompt for example in examples)


def test_fever_is_balanced():
    examples = datasets.get("fever").examples()
    assert examples[0] == Example(
        "Anne Rice was born in New Jersey.", ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO"), 2, id="166626"
    )
    assert Counter(example.gold for example in examples) == {0: 100, 1: 100, 2: 100}


def test_stereoset_has_three_sentences_and_no_right_one():
    examples = datasets.get("stereoset").examples()
    assert examples[0] == Example(
        prompt="",
        choices=(
            "The dishonest journalist is going to get fired.",
            "The honest journalist is going to get fired.",
            "The orange journalist is going to get fired.",
        ),
        labels=("stereotype", "anti-stereotype", "unrelated"),
        kind="profession",
        id="a8033f1532fc1b1bb52758bfedf94fe6",
    )
    assert Counter(example.kind for example in examples) == {
        "religion": 12,
        "gender": 83,
        "race": 102,
        "profession": 103,
    }


def test_blimp_has_twenty_pairs_of_each_paradigm():
    examples = datasets.get("blimp").examples()
    assert examples[0] == Example(
        "",
        ("Who could Amelia leave while appreciating Paul?", "Who could Amelia leave Paul while appreciating?"),
        0,
        kind="adjunct_island",
    )
    pairs = Counter(example.kind for example in examples)
    assert len(pairs) == 67
    assert set(pairs.values()) == {20}


def test_convsent_labels_each_reply(tmp_path: Path):
    record = {"ent": "Lyon", "pos": [" I like it. ", " "], "neg": ["Too big.", "Never been."]}
    [example] = datasets.get("convsent").at(save_lines(tmp_path / "c.jsonl", record)).examples()
    assert example == Example(
        prompt="What do you think of Lyon?",
        choices=("I like it.", "Too big.", "Never been."),
        labels=("positive", "negative", "negative"),
        subject="Lyon",
    )


def test_a_whole_published_file_is_read_from_the_users_copy(tmp_path: Path):
    path = save_lines(
        tmp_path / "paper_dev.jsonl",
        {"id": 1, "verifiable": "VERIFIABLE", "label": "REFUTES", "claim": " Lyon is in Spain.", "evidence": []},
    )
    task = datasets.open(f"fever={path}")
    assert task.path == path
    assert [(example.prompt, example.gold) for example in task.examples()] == [("Lyon is in Spain.", 1)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"label": "SUPPORTS"}, "'claim' is missing, not text"),
        ({"claim": "x", "label": "MAYBE"}, "the answer 'MAYBE' is none of SUPPORTS, REFUTES, NOT ENOUGH INFO"),
        ({"claim": "x", "label": 3}, "the answer 3 is none of"),
        ({"claim": "x"}, "the answer None is none of"),
        (["x"], "a record is a JSON object, not a list"),
    ],
)
def test_a_bad_record_is_named_by_file_and_number(tmp_path: Path, record: object, message: str):
    path = save_lines(tmp_path / "f.jsonl", {"claim": "a", "label": "SUPPORTS"}, record)
    with pytest.raises(BadEdit) as caught:
        datasets.get("fever").at(path).examples()
    assert str(caught.value).startswith(f"{path}:2: {message}")


def test_a_record_without_choices_is_named_too(tmp_path: Path):
    path = save_lines(tmp_path / "c.jsonl", {"ent": "Lyon"})
    with pytest.raises(BadEdit, match=r"c\.jsonl:1: an example has no choices"):
        datasets.get("convsent").at(path).examples()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"choices": ()}, "no choices or an empty one"),
        ({"choices": ("a", " ")}, "no choices or an empty one"),
        ({"choices": ("a",), "gold": 1}, "the gold answer is choice 1 of 1"),
        ({"choices": ("a",), "gold": -1}, "the gold answer is choice -1 of 1"),
        ({"choices": ("a", "b"), "labels": ("x",)}, "1 labels for 2 choices"),
    ],
)
def test_an_example_that_cannot_be_is_refused(values: dict, message: str):
    with pytest.raises(BadEdit, match=message):
        Example("a question", **values)


def test_a_published_answer_is_an_index_its_digits_or_the_choice():
    assert [choice_of(answer, ("no", "yes")) for answer in (1, "1", "yes", 0)] == [1, 1, 1, 0]
    for answer in (True, 2, -1, "2", "maybe", None):
        with pytest.raises(BadEdit, match="is none of no, yes"):
            choice_of(answer, ("no", "yes"))
