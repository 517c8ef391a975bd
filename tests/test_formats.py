"""Published layouts: what each becomes, what is left out of them, and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from errata.edit_files import read_edits
from errata.edits import Edit, Probe
from errata.errors import BadEdit

COUNTERFACT = {
    "case_id": 7,
    "pararel_idx": 1,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": " English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Jean {}",
    },
    "paraphrase_prompts": ["Jean {}, a native"],
    "neighborhood_prompts": ["Montesquieu speaks", "Balzac speaks"],
    "attribute_prompts": ["Douglas Adams speaks"],
    "generation_prompts": ["Jean {} was born in"],
}
FLAT = {
    "case_id": 0,
    "prompt": "Toko Yasuda, the",
    "target_new": "piano",
    "subject": "Toko Yasuda",
    "ground_truth": "guitar",
    "rephrase_prompt": "Toko Yasuda plays",
    "locality_prompt": "John Lennon plays the",
    "locality_ground_truth": "guitar",
}
KNOWEDIT = {
    "subject": "Leo",
    "prompt": "The country of Leo is",
    "target_new": "Syria",
    "ground_truth": [["United States", "USA"], ["Italy"]],
    "portability": {"Reasoning": [{"prompt": "Leo pays in", "ground_truth": [["pound"]]}]},
    "locality": {
        "Relation_Specificity": [{"prompt": "Leo is a", "ground_truth": [[], ["actor", "star"]]}],
        "Forgetfulness": [
            {"prompt": "Leo also had", "ground_truth": "x"},
            {"prompt": " ", "ground_truth": "y"},
        ],
    },
}
ZSRE = {
    "subject": "UniFirst",
    "src": "What does UniFirst make? ",
    "pred": "cloth",
    "rephrase": "What is made by UniFirst?",
    "alt": "aircraft",
    "answers": ["uniform", "uniforms"],
    "loc": "nq question: who sang",
    "loc_ans": "Cher",
    "cond": "uniform >> aircraft",
}
WIKIBIO = {
    "text": "This is a passage about ann lee. Ann is a",
    "labels": "painter. ",
    "concept": "Ann Lee",
    "locality": {"Relation_Specificity": [{"prompt": "ann lee field", "ground_truth": ["art"]}]},
}


def save(path: Path, *values: Any, lines: bool = True) -> Path:
    """A file of JSON values, one a line or as an array."""
    text = "\n".join(json.dumps(value) for value in values) if lines else json.dumps(values)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, format: str = "auto") -> str:
    with pytest.raises(BadEdit) as caught:
        read_edits(path, format)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_counterfact_in_romes_schema(tmp_path: Path):
    path = save(tmp_path / "cf.json", COUNTERFACT, lines=False)
    assert read_edits(path) == [
        Edit(
            prompt="The mother tongue of Jean {} is",
            target="English",
            subject="Jean {}",
            ground_truth="French",
            rephrases=("Jean {}, a native",),
            locality=(
                Probe("Montesquieu speaks", "French", "neighbour"),
                Probe("Balzac speaks", "French", "neighbour"),
            ),
            id="7",
        )
    ]


def test_what_easyedit_adds_to_counterfact(tmp_path: Path):
    added = {
        "portability": {"Recalled Relation": "(a, b, c)", "New Question": "Jean pays in? ", "New Answer": "Pounds"},
        "distracting_neighborhood_prompts": ["Jean speaks English. Balzac speaks"],
        "unrelated_relation": {"relation_id": "instance of", "object": "human", "question": "What is Jean?"},
        "alternative_subject": "Johnny",
    }
    [edit] = read_edits(save(tmp_path / "cf.json", COUNTERFACT | added, lines=False))
    assert edit.locality[2:] == (
        Probe("Jean speaks English. Balzac speaks", "French", "distractor"),
        Probe("What is Jean?", "human", "same_subject"),
    )
    assert edit.portability == (
        Probe("Jean pays in?", "Pounds", "one_hop"),
        Probe("The mother tongue of Johnny is", "English", "alias"),
    )


def test_easyedits_flat_counterfact(tmp_path: Path):
    assert read_edits(save(tmp_path / "cf.json", FLAT, lines=False)) == [
        Edit(
            prompt="Toko Yasuda, the",
            target="piano",
            subject="Toko Yasuda",
            ground_truth="guitar",
            rephrases=("Toko Yasuda plays",),
            locality=(Probe("John Lennon plays the", "guitar", "neighbour"),),
            id="0",
        )
    ]


def test_knowedit_takes_the_first_name_of_each_answer(tmp_path: Path):
    assert read_edits(save(tmp_path / "k.jsonl", KNOWEDIT)) == [
        Edit(
            prompt="The country of Leo is",
            target="Syria",
            subject="Leo",
            ground_truth="United States",
            locality=(Probe("Leo is a", "actor", "same_subject"), Probe("Leo also had", "x", "forgetfulness")),
            portability=(Probe("Leo pays in", "pound", "one_hop"),),
        )
    ]


def test_knowedits_groups_keep_an_unknown_name_and_drop_consequences_without_an_answer(tmp_path: Path):
    portability = {
        "Subject_Aliasing": [{"prompt": "The country of L. is", "ground_truth": [["Syria"]]}],
        "Logical_Generalization": [{"prompt": "Syria is home to", "ground_truth": [[]]}],
        "Mine": [{"prompt": "Who?", "ground_truth": "Leo"}],
    }
    [edit] = read_edits(save(tmp_path / "k.jsonl", KNOWEDIT | {"portability": portability}))
    assert edit.portability == (Probe("The country of L. is", "Syria", "alias"), Probe("Who?", "Leo", "mine"))


def test_a_flat_locality_prompt_with_another_answer_has_no_kind(tmp_path: Path):
    [edit] = read_edits(save(tmp_path / "cf.jsonl", FLAT | {"locality_ground_truth": "drums"}))
    assert edit.locality == (Probe("John Lennon plays the", "drums"),)


def test_mends_zsre_learns_alt_and_trusts_answers_not_pred(tmp_path: Path):
    assert read_edits(save(tmp_path / "z.json", ZSRE, lines=False)) == [
        Edit(
            prompt="What does UniFirst make?",
            target="aircraft",
            subject="UniFirst",
            ground_truth="uniform",
            rephrases=("What is made by UniFirst?",),
            locality=(Probe("nq question: who sang", "Cher", "unrelated"),),
        )
    ]


def test_what_easyedit_adds_to_mends_zsre(tmp_path: Path):
    added = {
        "portability": {"Recalled Relation": "(a, b, c)", "New Question": "Who flies it?", "New Answer": "Nobody"},
        "alter_subject_question": "What does Uni make?",
    }
    [edit] = read_edits(save(tmp_path / "z.json", ZSRE | added, lines=False))
    assert edit.portability == (
        Probe("Who flies it?", "Nobody", "one_hop"),
        Probe("What does Uni make?", "aircraft", "alias"),
    )


def test_wikibio_takes_the_prompts_spelling_of_the_subject(tmp_path: Path):
    assert read_edits(save(tmp_path / "w.json", WIKIBIO, lines=False)) == [
        Edit(
            prompt="This is a passage about ann lee. Ann is a",
            target="painter.",
            subject="ann lee",
            locality=(Probe("ann lee field", "art", "same_subject"),),
        )
    ]


def test_a_published_subject_that_the_prompt_lacks_is_left_out(tmp_path: Path):
    path = save(tmp_path / "z.json", ZSRE | {"subject": "Bellinuridae"}, lines=False)
    assert read_edits(path)[0].subject is None


def test_published_repeats_and_empty_targets_are_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    other = ZSRE | {"src": "What is UniFirst?"}
    path = save(tmp_path / "z.jsonl", ZSRE, ZSRE | {"alt": "tea"}, other | {"alt": " "}, other)
    with caplog.at_level(logging.WARNING, "errata"):
        edits = read_edits(path)
    assert [(edit.prompt, edit.target) for edit in edits] == [
        ("What does UniFirst make?", "aircraft"),
        ("What is UniFirst?", "aircraft"),
    ]
    assert (
        f"left out 2 of 4 records that repeat a prompt or have no target; the first is {path}:2"
        in caplog.text
    )


def test_a_clean_published_file_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    read_edits(save(tmp_path / "z.jsonl", ZSRE))
    assert not caplog.records


def test_a_published_file_without_any_edit_is_refused(tmp_path: Path):
    assert "no record has both a prompt and a target" in refusal(
        save(tmp_path / "z.jsonl", ZSRE | {"alt": ""})
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (COUNTERFACT | {"requested_rewrite": "x"}, "'requested_rewrite' is text, not an object"),
        (
            COUNTERFACT | {"requested_rewrite": COUNTERFACT["requested_rewrite"] | {"prompt": "He is"}},
            "'requested_rewrite.prompt' has no {}; write {} where the subject belongs",
        ),
        (COUNTERFACT | {"paraphrase_prompts": [1]}, "'paraphrase_prompts' is not a list of texts"),
        (FLAT | {"target_new": None}, "'target_new' is missing, not text"),
        (FLAT | {"ground_truth": 3}, "an answer is a number, not text"),
        (KNOWEDIT | {"locality": {"Forgetfulness": None}}, "'Forgetfulness' is not a list of objects"),
        (KNOWEDIT | {"locality": {"Forgetfulness": [{}]}}, "'prompt' is missing, not text"),
        (KNOWEDIT | {"portability": ["x"]}, "'portability' is a list, not an object"),
        (ZSRE | {"portability": {"New Question": "Who?"}}, "'New Answer' is missing, not text"),
        (ZSRE | {"alt": ["a"]}, "'alt' is a list, not text"),
        (WIKIBIO | {"locality": []}, "'locality' is a list, not an object"),
    ],
)
def test_a_published_record_of_another_shape_is_refused(tmp_path: Path, record: dict[str, Any], message: str):
    path = save(tmp_path / "p.jsonl", record)
    assert refusal(path).startswith(f"{path}:1: {message}")


def test_a_record_of_another_layout_further_down_is_refused(tmp_path: Path):
    path = save(tmp_path / "p.jsonl", FLAT, ZSRE)
    assert refusal(path).startswith(f"{path}:2: 'prompt' is missing, not text")


def test_a_named_format_is_not_guessed(tmp_path: Path):
    path = save(tmp_path / "p.jsonl", "x")
    assert refusal(path, "zsre") == f"{path}:1: a zsre record is a JSON object, not text; check the format"
