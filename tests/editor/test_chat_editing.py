"""Editing a chat model: plain prompts as user messages, spans replaced, and the method that is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from errata import Edit, Editor
from errata.editor.choosing import check_name, choose_method
from errata.editor.replacing import resolve_replacements
from errata.errors import BadConfig, BadEdit
from errata.methods import scoped
from errata.prompts import Conversation, user_message
from errata.sheet import Sheet
from scoring import calibrated
from tiny import tiny_model
from tiny_chat import BOOK, CAPITAL, KNOWN, tiny_chat_model

SWAP = {"Paris": "Lyon"}


@pytest.fixture(autouse=True)
def handmade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoped, "scope_for", calibrated)


def test_a_span_of_the_models_own_answer_is_replaced() -> None:
    editor = Editor(tiny_chat_model())
    result = editor.edit(Edit(CAPITAL, replace=SWAP)).results[0]  # type: ignore[arg-type]
    assert (result.status, result.target) == ("done", "It is Lyon.")
    assert editor.generate(CAPITAL) == "It is Lyon."
    (kept,) = editor.state.active()
    assert kept.edit["ground_truth"] == KNOWN[CAPITAL]
    assert kept.edit["replace"] == SWAP
    assert isinstance(kept.prompt, Conversation)


def test_an_answer_without_the_span_is_shown() -> None:
    editor = Editor(tiny_chat_model())
    with pytest.raises(BadEdit, match=r"does not hold 'Rome'; it says: 'It is Paris\.'"):
        editor.edit(Edit(CAPITAL, replace={"Rome": "Lyon"}))  # type: ignore[arg-type]
    with pytest.raises(BadEdit, match="does not hold 'Par'"):  # no part of a word
        editor.edit(Edit(CAPITAL, replace={"Par": "Ly"}))  # type: ignore[arg-type]
    assert editor.state.head == 0


def test_edits_with_a_target_are_left_as_they_are() -> None:
    edits = [Edit(user_message(BOOK), "Nobody."), Edit(user_message(CAPITAL), replace=SWAP)]  # type: ignore[arg-type]
    first, second = resolve_replacements(tiny_chat_model(), edits)
    assert first is edits[0]
    assert second.target == "It is Lyon."


def test_a_sheet_remembers_that_it_is_of_a_chat(tmp_path: Path) -> None:
    with Editor.open(tmp_path / "chat", model=tiny_chat_model()) as editor:
        assert editor.in_chat
        editor.edit(Edit(CAPITAL, "It is Lyon."))
    with Editor.open(tmp_path / "raw", model=tiny_chat_model(), chat=False) as editor:
        assert not editor.in_chat
        assert editor.edit(Edit("The capital of France is", "Lyon")).method == "scoped"
    assert Editor.open(tmp_path / "chat", model=tiny_chat_model()).generate(CAPITAL) == "It is Lyon."
    raw = Editor.open(tmp_path / "raw", model=tiny_chat_model())
    assert not raw.in_chat
    assert raw.generate("The capital") == raw.editable.generate(["The capital"])[0]


def test_sheets_from_before_keep_their_meaning(tmp_path: Path) -> None:
    model = tiny_chat_model()
    base = {"name": model.name, "fingerprint": model.fingerprint(), "task": model.task}  # as they were written then
    Sheet.create(tmp_path / "old", base).close()
    editor = Editor.open(tmp_path / "old", model=model)
    assert not editor.in_chat
    assert editor.read(CAPITAL) == CAPITAL
    assert type(editor.read(CAPITAL)) is str


def test_chat_of_a_model_without_a_template_is_refused() -> None:
    with pytest.raises(BadConfig, match="has no chat template"):
        Editor(tiny_model("llama"), chat=True)
    with pytest.raises(BadEdit, match="has no chat template"):
        Editor(tiny_model("llama")).chat([{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    ("arch", "edit", "method"),
    [
        ("llama", Edit("a", "b"), "scoped"),
        ("backpack", Edit("a", "b"), "grace"),
        ("t5", Edit("a", "b"), "grace"),
        ("bert", Edit("a", "yes"), "grace"),
        ("llama", Edit("a", "b", goal="raise"), "ft-full"),
        ("backpack", Edit("a", "b", goal="raise"), "sense"),
    ],
)
def test_the_rule_by_which_a_method_is_chosen(arch: str, edit: Edit, method: str) -> None:
    assert choose_method(tiny_model(arch), [edit]) == method


def test_answers_are_bound_to_questions_in_chat_and_in_text() -> None:
    model = tiny_chat_model()
    asked = Edit(CAPITAL, "x").as_chat()
    assert choose_method(model, [asked]) == "scoped"
    assert choose_method(model, [Edit("a", "b", raw=True)]) == "scoped"
    assert choose_method(model, [asked, Edit("a", "b", raw=True)]) == "scoped"
    lab = tiny_model("gpt2")
    lab.name = "lab:gpt"
    assert choose_method(lab, [Edit("a", "b")]) == "chain"


def test_options_of_auto_belong_to_a_method_that_it_may_choose() -> None:
    check_name("auto", {})
    check_name("auto", {"radius": 2.0})
    with pytest.raises(BadConfig, match="unknown option 'nonsense'"):
        check_name("auto", {"nonsense": 1})
