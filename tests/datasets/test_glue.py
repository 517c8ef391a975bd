"""The tasks of glue_eval, read from a user's own copy in the published form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from published import save_lines

from errata import datasets
from errata.errors import BadEdit

PAIR = {"sentence1": " Ann paints. ", "sentence2": "Ann is a painter.", "idx": 3}
PAIR_TEXT = "Sentence 1: Ann paints.\nSentence 2: Ann is a painter.\n"
RECORDS = [
    ("sst2", {"sentence": "a fine film ", "label": 1}, "Review: a fine film\nSentiment:", "positive"),
    ("sentiment", {"sentence": "a dull film ", "label": "0"}, "Review: a dull film\nSentiment:", "negative"),
    (
        "cola",
        {"sentence": "They goes.", "label": 0},
        "Sentence: They goes.\nQuestion: Is the sentence acceptable English?\nAnswer:",
        "no",
    ),
    ("mrpc", PAIR | {"label": 1}, f"{PAIR_TEXT}Question: Do both sentences mean the same?\nAnswer:", "yes"),
    ("rte", PAIR | {"label": 0}, f"{PAIR_TEXT}Question: Does sentence 2 follow from sentence 1?\nAnswer:", "yes"),
    (
        "nli",
        PAIR | {"label": "not_entailment"},
        f"{PAIR_TEXT}Question: Does sentence 2 follow from sentence 1?\nAnswer:",
        "no",
    ),
    (
        "mmlu",
        {"question": "What is 2 x 3? ", "subject": "arithmetic", "choices": ["5", "6", "7", "8"], "answer": 1},
        "Question: What is 2 x 3?\nAnswer:",
        "6",
    ),
    (
        "dialogue",
        {"article": "f : hi ! m : hello . ", "options": ["f : a", "f : b", "f : c"], "answers": "C", "id": "d1"},
        "f : hi ! m : hello .",
        "f : c",
    ),
]


@pytest.mark.parametrize(("name", "record", "prompt", "answer"), RECORDS)
def test_a_record_becomes_a_question_with_its_answer(
    tmp_path: Path, name: str, record: dict[str, Any], prompt: str, answer: str
):
    path = save_lines(tmp_path / "mine.jsonl", record)
    [example] = datasets.open(f"glue-{name}={path}").examples()
    assert example.prompt == prompt
    assert example.gold is not None
    assert example.choices[example.gold] == answer


@pytest.mark.parametrize("name", [f"glue-{name}" for name, *_ in RECORDS])
def test_nothing_of_glue_eval_is_in_the_package(name: str):
    task = datasets.get(name)
    assert (task.path, task.licence) == (None, "none stated")
    with pytest.raises(BadEdit, match=f"'{name}' is not in the package .* write {name}=PATH"):
        task.examples()


def test_an_answer_beyond_the_choices_is_refused(tmp_path: Path):
    record = {"question": "What?", "subject": "s", "choices": ["a", "b"], "answer": 2}
    path = save_lines(tmp_path / "m.jsonl", record)
    with pytest.raises(BadEdit, match=r"m\.jsonl:1: the answer 2 is none of 0, 1"):
        datasets.open(f"glue-mmlu={path}").examples()


def test_a_letter_beyond_the_options_is_refused(tmp_path: Path):
    record = {"article": "f : hi", "options": ["f : a", "f : b"], "answers": "C", "id": "d1"}
    path = save_lines(tmp_path / "d.jsonl", record)
    with pytest.raises(BadEdit, match=r"d\.jsonl:1: the answer 'C' is none of A, B"):
        datasets.open(f"glue-dialogue={path}").examples()
