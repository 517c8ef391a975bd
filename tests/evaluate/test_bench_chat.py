"""Benchmarks and evaluations of a chat model: prompts are user messages, unless a recipe says raw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from errata.edit_files import write_edits
from errata.editor import Editor
from errata.edits import Edit, Probe
from errata.errors import BadEdit
from errata.evaluate.evidence import Answer
from errata.evaluate.probing import evaluate, questions_about, read_questions
from errata.evaluate.questions import Question
from errata.evaluate.recipe import Recipe
from errata.evaluate.results import Results
from errata.evaluate.runner import run
from errata.evaluate.setting import prepare
from errata.prompts import Conversation, RawText, one_line, user_message
from tiny_chat import BOOK, CAPITAL, CITY, KNOWN, tiny_chat_model

FIXED = "It is Danielle."
EDIT = Edit(CAPITAL, FIXED, rephrases=("France's capital?",), locality=(Probe(BOOK), Probe(CITY)), id="c")
TURNS = [{"role": "system", "content": "Be."}, {"role": "user", "content": CAPITAL}]


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, model = tmp_path_factory.mktemp("models") / "chat", tiny_chat_model()
    model.model.save_pretrained(directory)
    model.tokenizer.save_pretrained(directory)
    return directory


def _recipe(speaker: Path, folder: Path, **changes: object) -> Recipe:
    write_edits(folder / "edits.jsonl", [EDIT])
    values = {"model": str(speaker), "dataset": str(folder / "edits.jsonl"), "methods": ["ft"], "texts": 0}
    return Recipe.of({**values, "max_new_tokens": 12, **changes})


@pytest.mark.parametrize("protocol", ["sequential", "single"])
def test_a_recipe_asks_and_edits_in_chat(speaker: Path, tmp_path: Path, protocol: str) -> None:
    results = run(_recipe(speaker, tmp_path, protocol=protocol), tmp_path / "out")
    assert not results.problems()
    answers = [Answer.from_json(row) for row in results.run(results.recipe.methods[0]).answers(1) or []]
    said = {answer.question.prompt: (answer.before, answer.said) for answer in answers}
    assert said[user_message(CAPITAL)] == (KNOWN[CAPITAL], FIXED)
    assert said[user_message(BOOK)][0] == KNOWN[BOOK]


def test_a_raw_recipe_continues_plain_text(speaker: Path, tmp_path: Path) -> None:
    results = run(_recipe(speaker, tmp_path, raw=True), tmp_path / "out")
    answers = [Answer.from_json(row) for row in results.run(results.recipe.methods[0]).answers(1) or []]
    assert all(not isinstance(answer.question.prompt, Conversation) for answer in answers)
    assert next(answer for answer in answers if answer.question.prompt == BOOK).before != KNOWN[BOOK]
    assert Results.open(tmp_path / "out").recipe.raw


def test_a_setting_in_chat_is_another_one(speaker: Path, tmp_path: Path) -> None:
    plain = prepare(_recipe(speaker, tmp_path))
    asked = plain.in_chat()
    assert plain.digest() != asked.digest() == plain.in_chat().digest()
    assert [one.prompt for one in asked.everything()] == [user_message(one.prompt) for one in plain.everything()]


@pytest.mark.parametrize("prompt", [BOOK, RawText(BOOK), user_message(BOOK), Conversation(TURNS)])
def test_a_question_keeps_what_its_prompt_is(prompt: str) -> None:
    question = Question("upstream", prompt)
    value = json.loads(json.dumps(question.to_json()))
    assert Question.from_json(value) == question
    assert value["prompt"] == str(prompt)


def test_an_evaluation_reads_prompts_as_the_editor_does(tmp_path: Path) -> None:
    with Editor(tiny_chat_model()) as editor:
        assert editor.edit(Edit(CAPITAL, replace={"Paris": "Danielle"}), "ft").done
        write_edits(tmp_path / "e.jsonl", [Edit(CAPITAL, replace={"Paris": "Danielle"})])
        (asked,) = read_questions(str(tmp_path / "e.jsonl"), editor.state, chat=True)
        assert asked == Question("reliability", user_message(CAPITAL), FIXED, "e1")
        write_edits(tmp_path / "e.jsonl", [Edit(BOOK, replace={"Danielle": "Rome"})])
        with pytest.raises(BadEdit, match="give its target"):
            read_questions(str(tmp_path / "e.jsonl"), editor.state, chat=True)
        plain = [Question("upstream", BOOK), *questions_about(editor.state)]
        answers = evaluate(editor, plain, ["accuracy"]).evidence.answers
        assert answers[0].before == KNOWN[BOOK]
        assert answers[1].said == FIXED


def test_probes_may_hold_messages_or_be_raw(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"messages": TURNS}, {"prompt": BOOK, "raw": True}, {"prompt": BOOK, "answer": "a"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Editor(tiny_chat_model()) as editor:
        state = editor.state
    assert [one.prompt for one in read_questions(str(path), state)] == [Conversation(TURNS), RawText(BOOK), BOOK]
    chat = [one.prompt for one in read_questions(str(path), state, chat=True)]
    assert chat == [Conversation(TURNS), RawText(BOOK), user_message(BOOK)]
    path.write_text(json.dumps({"messages": TURNS, "prompt": "a"}) + "\n")
    with pytest.raises(BadEdit, match="give the messages alone"):
        read_questions(str(path), state)


def test_a_conversation_prints_on_one_line() -> None:
    turns = [*TURNS, {"role": "assistant", "content": "Paris"}, {"role": "user", "content": "And\nnow?"}]
    assert one_line(Conversation(turns)) == "[system: Be.; 2 earlier messages] And now?"
    assert one_line(user_message("And\nnow?")) == one_line("And  now?") == "And now?"
