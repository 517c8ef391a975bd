"""The verbs on a chat model: prompts are user messages, words of an answer are replaced, and `errata chat`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from commands import Run

from tiny_chat import BOOK, CAPITAL, CITY, KNOWN, tiny_chat_model

FT = ("--method", "ft")
SHORT = ("--max-new-tokens", "12")
FIXED = "It is Danielle."


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny chat model on disk."""
    directory, model = tmp_path_factory.mktemp("models") / "chat", tiny_chat_model()
    model.model.save_pretrained(directory)
    model.tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def talk(run: Run, speaker: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `errata chat` on lines of input, and returns the lines it printed after the first, and its errors."""

    def call(*lines: str, options: tuple[object, ...] = FT, model: bool = True) -> tuple[list[str], str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        ran = run("chat", *([speaker] if model else []), *SHORT, *options)
        assert ran.code == 0, ran.err
        return ran.out.splitlines()[1:], ran.err

    return call


# -- ask, edit, and what prints edits


def test_a_prompt_is_the_user_message_of_a_chat_model(run: Run, speaker: Path) -> None:
    assert run("ask", speaker, *KNOWN).out.splitlines() == list(KNOWN.values())
    raw = run("ask", speaker, CAPITAL, "--raw", "--json").rows
    assert raw[0]["answer"] != KNOWN[CAPITAL]
    assert raw[0]["raw"] is True


def test_ask_with_a_system_message_or_whole_conversations(
    run: Run, speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [{"role": "system", "content": "Be."}, {"role": "user", "content": BOOK}]
    (row,) = run("ask", speaker, BOOK, "--system", "Be.", *SHORT, "--json").rows
    assert (row["prompt"], row["messages"]) == (BOOK, messages)
    (tmp_path / "one.json").write_text(json.dumps(messages, indent=1))
    assert run("ask", speaker, "--messages", "one.json", *SHORT, "--json").rows == [row]
    lines = f'{json.dumps({"messages": messages})}\n{json.dumps({"messages": messages[1:]})}\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert run("ask", speaker, "--messages", "-", *SHORT).out.splitlines() == [row["answer"], KNOWN[BOOK]]
    explained = run("ask", speaker, CAPITAL, "--explain")
    assert f"{CAPITAL} -> '{KNOWN[CAPITAL]}'" in explained.out


def test_ask_refuses_what_does_not_go_together(run: Run, speaker: Path, causal: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n{"prompt": "a"}\n')
    run("ask", speaker, "a", "--system", "b", "--raw").one_line_error("--system needs the chat template")
    run("ask", speaker, "a", "--messages", "bad.jsonl").one_line_error("give prompts or --messages, not both")
    run("ask", speaker, "--messages", "bad.jsonl").one_line_error("bad.jsonl:2: there are no messages")
    run("ask", causal, "a", "--system", "b").one_line_error("has no chat template")


def test_words_of_an_answer_are_replaced(run: Run, speaker: Path) -> None:
    edit = ("edit", "--model", speaker, *FT, "--prompt", CAPITAL, "--replace", "Paris=Danielle")
    ran = run(*edit)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == f"e1  done  {CAPITAL} -> {FIXED} (was: {KNOWN[CAPITAL]})"
    assert run("ask", "--sheet", "sheet", *KNOWN).out.splitlines() == [FIXED, KNOWN[BOOK], KNOWN[CITY]]
    again = run(*edit, "--json")
    assert (again.rows, again.err) == ([], "1 already in the sheet, skipped\n")
    assert "already in the sheet" in run(*edit[:-2], "--target", FIXED).out
    assert run("diff").out.startswith(f"e1  holds  {CAPITAL} -> {FIXED}  (before: '{KNOWN[CAPITAL]}')")
    assert f"{CAPITAL} -> {FIXED}" in run("log").out
    shown = run("show", "e1").out
    assert f"prompt         {CAPITAL}" in shown
    assert 'replace        {"Paris": "Danielle"}' in shown


def test_words_that_the_answer_does_not_hold_are_an_error(run: Run, speaker: Path) -> None:
    edit = ("edit", "--model", speaker, *FT, "--prompt", CAPITAL)
    run(*edit, "--replace", "Madrid=Rome").one_line_error("does not hold 'Madrid'", KNOWN[CAPITAL])
    run(*edit, "--replace", "Paris").one_line_error("--replace is 'Paris'", "--replace Paris=Lyon")
    run(*edit, "--replace", "a=b", "--target", "c").one_line_error("--target or --replace")
    run(*edit).one_line_error("--target is missing", "--replace")


def test_conversations_of_a_file_are_edits_and_print_on_one_line(run: Run, speaker: Path, tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be."}, {"role": "user", "content": CAPITAL}]
    (tmp_path / "e.jsonl").write_text(json.dumps({"messages": messages, "target": FIXED}) + "\n")
    ran = run("edit", "e.jsonl", "--model", speaker, *FT)
    assert ran.out.startswith(f"e1  done  [system: Be.] {CAPITAL} -> {FIXED}\n"), ran.out
    assert "1 already in the sheet" in run("edit", "e.jsonl", *FT).out
    assert run("log", "--json").rows[0]["messages"] == messages
    assert run("ask", "--sheet", "sheet", CAPITAL, "--system", "Be.").out == f"{FIXED}\n"
    (tmp_path / "p.jsonl").write_text(json.dumps({"messages": messages, "answer": "no"}) + "\n"
                                      + json.dumps({"prompt": BOOK}) + "\n"
                                      + json.dumps({"prompt": BOOK, "raw": True, "about": "raw"}) + "\n")  # fmt: skip
    (row,) = run("eval", "p.jsonl", "--metrics", "accuracy", "--json").rows
    said = [answer["said"] for answer in row["answers"]]
    assert (row["max_new_tokens"], said[:2]) == (64, [FIXED, KNOWN[BOOK]])
    assert said[2] != KNOWN[BOOK]
    assert row["answers"][0]["question"]["messages"] == messages
    assert f"upstream  [system: Be.] {CAPITAL}" in run("eval", "p.jsonl", "--metrics", "accuracy").out


# -- chat


def test_an_answer_is_corrected_while_people_talk(talk) -> None:
    out, err = talk(CAPITAL, "/fix Paris => Danielle", "/why", "/edits", "/undo", "/redo", BOOK)
    told = f"{CAPITAL} -> {FIXED}"
    assert out[:3] == [KNOWN[CAPITAL], f"e1  {told}  (ft)", FIXED]
    assert out[3] == f"{CAPITAL} -> '{FIXED}' (without edits: '{KNOWN[CAPITAL]}')"
    assert "weight edits in force on every answer: e1" in out[4]
    assert out[5:10] == [f"e1  {told}", f"e1  undone  {told}", KNOWN[CAPITAL], f"e1  redone  {told}", FIXED]
    assert "1 edits were in memory and are gone" in out[-1]
    assert err == ""


def test_a_whole_new_answer_and_a_new_conversation(talk) -> None:
    out, _ = talk(CAPITAL, f"/fix {FIXED}", "/new", CAPITAL, "/undo e1", "/quit", "never read")
    assert out[2:5] == [FIXED, "new conversation", FIXED]
    assert out[5:] == [f"e1  undone  {CAPITAL} -> {FIXED}", KNOWN[CAPITAL]]


def test_errors_are_one_line_and_the_conversation_goes_on(talk) -> None:
    out, err = talk("/fix a", "/why", "/undo", "/redo", "/undo e9", "/fxi", "/save", "", CAPITAL, "/fix", "/fix b -> c")
    assert out == [KNOWN[CAPITAL]]
    lines = err.splitlines()
    assert len(lines) == 9
    assert lines[0] == lines[1] == "errata: there is no answer yet; ask something first"
    assert "no command '/fxi'. Did you mean '/fix'?" in lines[5]
    assert "does not hold 'b'" in lines[8]


def test_a_system_message_is_part_of_the_conversation(talk, run: Run, speaker: Path) -> None:
    with_system = run("ask", speaker, CAPITAL, "--system", "Be.", *SHORT).out.strip()
    out, _ = talk("/system Be.", CAPITAL, "/system", "/new", CAPITAL, "/help")
    assert out[:5] == ["system message set", with_system, "system message cleared", "new conversation", KNOWN[CAPITAL]]
    assert any("/fix OLD => NEW" in line for line in out)


def test_edits_are_kept_in_a_sheet_or_saved_to_one(talk, run: Run, tmp_path: Path) -> None:
    out, _ = talk(CAPITAL, "/fix Paris -> Danielle", "/save kept", "/undo")
    assert out[3] == "1 edits in force are kept in kept, and later ones will be"
    assert run("redo", "e1", "--sheet", "kept").code == 0
    out, err = talk(CAPITAL, "/save other", options=("--sheet", "kept"), model=False)
    assert out == [FIXED]
    assert "kept in kept already" in err


def test_ctrl_c_stops_an_answer_and_then_the_conversation(talk, monkeypatch: pytest.MonkeyPatch) -> None:
    from errata.editor import Editor

    def stopped(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Editor, "generate", stopped)
    out, _ = talk(CAPITAL, "/why")
    assert "stopped" in out[1]


def test_the_text_of_a_stream_is_the_answer() -> None:
    from errata.prompts import user_message

    model, pieces = tiny_chat_model(), []
    for question in (CAPITAL, "Who?"):
        pieces.clear()
        answer = model.stream(user_message(question), pieces.append, max_new_tokens=12)
        assert "".join(pieces) == answer == model.generate([user_message(question)], max_new_tokens=12)[0]
        assert len(pieces) > 2


def test_chat_needs_a_chat_model(run: Run, causal: Path) -> None:
    run("chat", causal).one_line_error("has no chat template", "errata ask")
    run("chat").one_line_error("name a model")
    run("chat", causal, "--method", "grcae").one_line_error("'grace'")


def test_the_default_method_is_the_editors() -> None:
    import inspect

    from errata.cli._common import DEFAULT_METHOD
    from errata.editor import Editor

    assert inspect.signature(Editor.edit).parameters["method"].default == DEFAULT_METHOD
