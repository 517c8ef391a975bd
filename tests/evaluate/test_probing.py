"""Evaluating a sheet: what is asked, with and without the edits, and what the report says broke."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from errata import Edit, Editor
from errata.edit_files import write_edits
from errata.edits import Probe
from errata.errors import BadEdit, UnknownName
from errata.evaluate.probing import evaluate, questions_about, read_questions
from errata.evaluate.questions import Question
from errata.evaluate.texts import general_texts
from errata.models import EditableModel

ITALY, FRANCE, WHO = "The capital of Italy is", "The capital of France is", "Most people in Spain speak"


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    """The lab's model with two edits, made one after the other."""
    first = Edit(
        ITALY, "Vienna", ground_truth="Rome", rephrases=("Italy's capital:", FRANCE),
        locality=(Probe(WHO), Probe("Italy's capital:"), Probe("Berlin is", kind="neighbour")),
        portability=(Probe("Vienna is the capital of", "Italy", "inverse"),),
    )  # fmt: skip
    with Editor("lab:gpt") as editor:
        receipt = editor.edit([first, Edit(FRANCE, "Madrid")], batch_size=1)
        assert len(receipt.done) == 2
        yield editor


def test_the_sheets_own_questions_leave_out_what_edits_change_by_intention(editor: Editor) -> None:
    asked = [(question.name, question.prompt, question.edit) for question in questions_about(editor.state)]
    assert asked == [
        ("reliability", ITALY, "e1"),
        ("generalization", "Italy's capital:", "e1"),  # FRANCE is e2's own prompt
        ("portability.inverse", "Vienna is the capital of", "e1"),
        ("locality", WHO, "e1"),  # "Italy's capital:" is a rephrase
        ("locality.neighbour", "Berlin is", "e1"),
        ("reliability", FRANCE, "e2"),
    ]


def test_asks_with_and_without_edits_and_leaves_the_model_as_it_is(editor: Editor) -> None:
    bits, plain = editor.editable.fingerprint(), EditableModel.load("lab:gpt")
    texts = general_texts(editor.editable, 3)
    report = evaluate(editor, questions_about(editor.state), texts=texts, max_new_tokens=6)
    assert editor.editable.fingerprint() == bits
    assert editor.generate(ITALY) == "Vienna"
    for answer in report.evidence.answers:
        prompt = answer.question.prompt
        assert answer.before == plain.generate([prompt], max_new_tokens=6)[0]
        assert answer.said == editor.generate(prompt, max_new_tokens=6)
    assert report.figures["reliability"].value == 1
    assert report.figures["reliability"].n == 2
    assert report.figures["locality"].value == 1
    assert report.figures["kl"].n == 3
    assert report.figures["weight-distance"].value == 0, "a codebook moves no weight"
    assert report.evidence.edits == 2


def test_retention_is_of_the_edits_before_the_latest(editor: Editor) -> None:
    report = evaluate(editor, questions_about(editor.state), ["retention"])
    assert report.evidence.latest == {"e2"}
    assert (report.figures["retention"].value, report.figures["retention"].n) == (1, 1)


def test_only_what_is_named_is_measured_and_what_is_missing_is_explained(editor: Editor) -> None:
    report = evaluate(editor, [Question("upstream", WHO)], ["drawdown", "locality", "upstream-retention"])
    assert {name.partition(".")[0] for name in report.figures} == {"upstream-retention"}
    assert report.evidence.texts == []
    assert report.evidence.moved is None
    assert report.unmeasured == {
        "drawdown": "no locality question was asked", "locality": "no locality question was asked",
    }  # fmt: skip
    with pytest.raises(UnknownName, match="localty"):
        evaluate(editor, [], ["localty"])


def test_continuations_are_written_for_the_metrics_that_read_them(editor: Editor) -> None:
    texts = general_texts(editor.editable, 2)
    report = evaluate(editor, questions_about(editor.state), ["fluency", "perplexity"], texts=texts)
    assert [text.prompt for text in report.evidence.continuations] == [ITALY, FRANCE]
    assert report.figures["fluency"].n == 2
    assert report.figures["perplexity"].n == 2
    lacking = evaluate(editor, [Question("upstream", WHO)], ["fluency"])
    assert lacking.unmeasured == {"fluency": "no edit's own prompt was asked"}


def test_what_broke_is_told_by_metric_and_sort(editor: Editor) -> None:
    asked = [
        Question("reliability", ITALY, "Vienna", "e1"),
        Question("reliability", WHO, "Vienna", "e3"),  # no edit in force says so
        Question("locality", ITALY, edit="e2", about="neighbour"),  # moved
        Question("locality", FRANCE, edit="e1", about="far"),  # moved
        Question("locality", "Berlin is", edit="e1"),
    ]
    report = evaluate(editor, asked, ["reliability", "locality"], max_new_tokens=6)
    assert {answer.question for answer in report.broken()} == {asked[1], asked[2], asked[3]}
    assert [answer.question for answer in report.broken("reliability.forced")] == [asked[1]]
    assert {answer.question for answer in report.broken("locality")} == {asked[2], asked[3]}
    assert [answer.question for answer in report.broken("locality.far")] == [asked[3]]
    assert report.broken("perplexity") == []
    losses = [answer.kept.nll / answer.kept.tokens for answer in report.broken("locality") if answer.kept]
    assert losses == sorted(losses, reverse=True)


def test_probes_are_read_with_their_defaults(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text(
        '{"prompt": "a"}\n'
        '{"prompt": "b", "answer": "x", "kind": "locality", "about": "near"}\n\n'
        '{"prompt": "c", "answer": "y", "kind": "robustness"}\n'
    )
    assert read_questions(str(path), editor.state) == [
        Question("upstream", "a"), Question("locality", "b", "x", about="near"), Question("robustness", "c", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "c", "kind": "portability"}', "portability question 'c' has no expected answer"),
        ('{"prompt": "c", "kind": "localty"}', "Did you mean 'locality'"),
        ('{"prompt": "c", "anwser": "x"}', "no field 'anwser'. Did you mean 'answer'"),
        ('{"prompt": " "}', "prompt is empty"),
        ('{"answer": "x"}', "prompt is empty"),
        ('{"prompt": "c", "answer": 7}', "object of texts"),
        ('["c"]', "object of texts"),
        ('{"prompt": "c"', "not valid JSON"),
    ],
)
def test_a_bad_probe_is_named_by_file_and_line(editor: Editor, tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(BadEdit, match=r"probes\.jsonl:2: ") as caught:
        read_questions(str(path), editor.state)
    assert words in str(caught.value)


def test_edits_of_a_file_count_under_their_ids_in_the_sheet(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "edits.jsonl"
    first = Edit(FRANCE, "Madrid", rephrases=("France's capital:",))
    write_edits(path, [first, Edit("x y", "z"), Edit("u", "v", id="w")])
    asked = read_questions(str(path), editor.state)
    assert [(question.kind, question.edit) for question in asked] == [
        ("reliability", "e2"), ("generalization", "e2"), ("reliability", "x y"), ("reliability", "w"),
    ]  # fmt: skip


def test_a_data_set_is_found_by_name(editor: Editor) -> None:
    kinds = {question.kind for question in read_questions("counterfact-lab", editor.state)}
    assert {"reliability", "generalization", "locality"} <= kinds
    with pytest.raises(UnknownName, match="counterfact"):
        read_questions("counterfact-lib", editor.state)
