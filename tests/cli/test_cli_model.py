"""The verbs that need a model, on a tiny one: edit, ask, undo, redo, diff, export, and their errors."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from commands import Run, content

PROMPT, TARGET = "Is Paris the capital of Italy?", "yes"
OTHER = WORST = "no"
FAST = ("--lr", "2.0", "--radius=0.5")


def lines(path: Path, *edits: tuple[str, str]) -> Path:
    rows = [json.dumps({"prompt": prompt, "target": target}) for prompt, target in edits]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sheet with one edit in force (copy it before changing it)."""
    from errata import Edit, Editor

    path = tmp_path_factory.mktemp("sheets") / "made"
    with Editor.open(path, model=str(model)) as editor:
        assert editor.edit(Edit(PROMPT, TARGET)).done
    return path


@pytest.fixture
def sheet(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "sheet"))


def test_edit_then_ask_from_the_sheet(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("edit", "--model", model, "--prompt", PROMPT, "--target", TARGET, *FAST)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == f"e1  done  {PROMPT} -> {TARGET}"
    assert ran.out.splitlines()[1].startswith("1 of 1 edits done and recorded in sheet (method grace at block")
    (row,) = run("show", "e1", "--json").rows
    assert (row["config"]["radius"], row["config"]["lr"]) == (0.5, 2.0)
    assert run("ask", "--sheet", "sheet", PROMPT).out == f"{TARGET}\n"
    assert run("ask", model, PROMPT, "--json").rows == [{"prompt": PROMPT, "answer": TARGET}]


def test_edit_reads_a_table_whose_columns_have_other_names(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(f"question;answer;by\n{PROMPT};{TARGET};Eve\n")
    mapped = ("--map", "prompt=question", "--map", "target=answer")
    ran = run("edit", "e.csv", *mapped, "--model", model, "--dry-run", "--json", *FAST)
    assert ran.code == 0, ran.err
    assert (ran.rows[0]["prompt"], ran.rows[0]["target"]) == (PROMPT, TARGET)
    run("edit", "e.csv", "--model", model).one_line_error("no columns 'prompt' and 'target'", mapped[1], mapped[3])
    run("edit", "e.csv", "--map", "question").one_line_error("'question' is no NAME=COLUMN")
    run("edit", "e.csv", *mapped, "--map", "target=by").one_line_error("'target' is both 'answer' and 'by'")
    run("edit", "e.csv", "--map", "promt=question").one_line_error("Did you mean 'prompt'?")


def test_ask_without_a_sheet_is_the_plain_model(run: Run, model: Path, sheet: Path) -> None:
    moved = sheet.rename(sheet.with_name("other"))
    plain = run("ask", model, PROMPT, "--max-new-tokens", 4)
    assert (plain.code, plain.err) == (0, "")
    assert plain.out.strip() != TARGET
    (row,) = run("ask", PROMPT, "--sheet", moved, "--explain", "--json").rows
    assert row["answer"] == TARGET
    assert row["firings"][0]["edit"] == "e1"


def test_text_comes_out_plain_and_a_lora_goes_out(run: Run, causal: Path, tmp_path: Path) -> None:
    ran = run("edit", "--model", causal, "--method", "lora", "--prompt", "The capital is", "--target", "Rome")
    assert ran.code == 0, ran.out
    assert run("ask", "The capital is", "Madrid").out.splitlines()[0] == "Rome"
    dry = run("export", "--to", "lora", "out", "--dry-run")
    assert (dry.err, dry.out) == ("", "1 edits would be written to out (lora)\n")
    assert not (tmp_path / "out").exists()
    ran = run("export", "--to", "lora", "out")
    assert ran.err == ""
    assert ran.out == "1 edits written to out (lora)\n"
    assert (tmp_path / "out" / "adapter_config.json").is_file()
    assert run("log", "--json").rows[-1]["status"] == "exported"


def test_ask_needs_a_model_and_a_prompt(run: Run) -> None:
    run("ask", PROMPT).one_line_error("give a model and a prompt")
    run("ask").one_line_error("errata ask --help")
    run("ask", "./nowhere", PROMPT).one_line_error("./nowhere")


def test_a_second_run_goes_on_where_the_first_was(run: Run, sheet: Path) -> None:
    file = lines(sheet.parent / "edits.jsonl", (PROMPT, TARGET), ("Is Berlin a city?", "yes"))
    ran = run("edit", file)
    assert ran.out.splitlines()[:2] == [
        "1 already in the sheet, skipped",
        "e2  done  Is Berlin a city? -> yes",
    ]
    before = content(sheet)
    again = run("edit", file, "--json")
    assert (again.code, again.rows) == (0, [])
    assert again.err == "2 already in the sheet, skipped\n"
    assert content(sheet) == before


def test_an_edit_of_the_same_prompt_replaces(run: Run, sheet: Path) -> None:
    ran = run("edit", "--prompt", PROMPT, "--target", OTHER)
    assert "(replaces e1)" in ran.out


def test_dry_runs_leave_every_byte(run: Run, sheet: Path) -> None:
    before = content(sheet)
    ran = run("edit", "--prompt", "Is Rome a book?", "--target", "no", "--dry-run")
    assert "1 of 1 edits would be done; nothing was written" in ran.out
    (row,) = run("undo", "e1", "--dry-run", "--json").rows
    assert (row["before"], row["after"], row["dry_run"]) == ("active", "undone", True)
    assert content(sheet) == before


def test_a_dry_run_starts_no_sheet(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("edit", "--model", model, "--prompt", PROMPT, "--target", TARGET, "--dry-run", "--json")
    assert ran.rows[0]["status"] == "done"
    assert not (tmp_path / "sheet").exists()


def test_undo_redo_and_diff(run: Run, sheet: Path) -> None:
    (row,) = run("diff", "--json").rows
    assert (row["id"], row["after"], row["holds"]) == ("e1", TARGET, True)
    assert run("undo", "e1").out == f"e1  active -> undone  {PROMPT} -> {TARGET}\n"
    assert run("diff", "--json").rows == []
    assert run("undo", "e1").out.startswith("e1  undone already")
    assert run("redo", "e1", "--json").rows[0]["after"] == "active"
    assert run("diff").out.splitlines()[-1] == "1 of 1 edits hold"


def test_export_says_why_not(run: Run, sheet: Path, tmp_path: Path) -> None:
    run("export", "--to", "lora", "out").one_line_error("cannot become a LoRA adapter")
    assert not (tmp_path / "out").exists()


def test_edit_from_a_data_set(run: Run, causal: Path) -> None:
    ran = run("edit", "zsre", "--model", causal, "--n", 2, "--steps", 1, "--dry-run", "--json")
    assert len(ran.rows) == 2
    assert set(ran.rows[0]) >= {
        "id",
        "prompt",
        "target",
        "status",
        "reason",
        "superseded",
        "figures",
        "method",
    }


def test_all_failed_exits_2(run: Run, sheet: Path) -> None:
    ran = run("edit", "--prompt", "Is it?", "--target", WORST, "--steps", 1, "--lr", "1e-9")
    assert ran.code == 2
    assert ran.out.splitlines()[0].startswith(f"e2  failed  Is it? -> {WORST}  (")
    assert ran.out.splitlines()[1].startswith("0 of 1 edits")


def test_wrong_words_are_one_line_and_leave_the_sheet(run: Run, sheet: Path, tmp_path: Path) -> None:
    before = content(sheet)
    one = ("--prompt", "a b", "--target", "no")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "target": "b"}\n{"prompt": "c"\n')
    run("edit", bad).one_line_error("bad.jsonl:2")
    run("edit", "nowhere.jsonl").one_line_error("nowhere.jsonl")
    run("edit").one_line_error("nothing to edit")
    run("edit", "--prompt", "a b").one_line_error("--target is missing")
    run("edit", lines(tmp_path / "good.jsonl", ("a", "b")), *one).one_line_error("not both")
    run("edit", *one, "--method", "grcae").one_line_error("unknown method 'grcae'", "'grace'")
    run("edit", *one, "--radus", "3").one_line_error("no option '--radus'", "'--radius'")
    run("edit", "--promt", "a b", "--target", "c").one_line_error("'--prompt'")
    run("edit", *one, "--radius", "wide").one_line_error("option 'radius' must be")
    run("edit", *one, "--radius").one_line_error("'--radius' needs a value")
    run("edit", *one, "--radius", "--lr=1").one_line_error("'--radius' needs a value")
    run("edit", *one, "--layer", "-9").one_line_error()
    run("undo", "e7").one_line_error("no edit 'e7'")
    assert content(sheet) == before


def test_a_new_sheet_needs_a_model(run: Run, tmp_path: Path) -> None:
    run("edit", "--prompt", "a b", "--target", "c").one_line_error("there is no sheet at sheet", "--model")
    run("edit", "--prompt", "a", "--target", "c", "--model", "./no").one_line_error("./no")
    assert not (tmp_path / "sheet").exists()


def test_wrong_base_model(run: Run, sheet: Path, model: Path, tmp_path: Path) -> None:
    from tiny import tiny_model

    other = tmp_path / "other"
    editable = tiny_model("llama")
    editable.model.save_pretrained(other)
    editable.tokenizer.save_pretrained(other)
    run("ask", other, PROMPT, "--sheet", sheet).one_line_error("is the sheet of", "open it with the model")
    run("edit", "--model", other, "--prompt", "a", "--target", "b").one_line_error("is the sheet of")


def test_methods_list_options(run: Run) -> None:
    rows = {row["name"]: row for row in run("methods", "--json").rows}
    assert set(rows["grace"]) >= {"name", "patch", "needs_training", "paper", "summary", "options"}
    (radius,) = [option for option in rows["grace"]["options"] if option["name"] == "radius"]
    assert (radius["type"], radius["default"]) == ("float", 1.0)
    assert "--layer auto|int|float" in run("methods", "grace").out
    run("methods", "grcae").one_line_error("'grace'")


def test_methods_tell_what_a_model_would_be_edited_with(run: Run, model: Path, tmp_path: Path) -> None:
    """GPT-2 XL is known by its config: there are no weights in this directory."""
    from transformers import AutoTokenizer, GPT2Config

    GPT2Config(n_embd=1600, n_layer=48, n_head=25).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    (row,) = run("methods", "memit", "--model", str(tmp_path), "--json").rows
    values = {option["name"]: option["default"] for option in row["options"]}
    assert (values["layers"], values["weight"], values["clamp"]) == ("13-17", 20000.0, 0.75)
    assert "(for lab:gpt: auto)" in run("methods", "memit", "--model", "lab:gpt").out
    run("methods", "--model", "lab:gpt").one_line_error("name the method")
    run("methods", "memit", "--model", str(tmp_path / "absent")).one_line_error("cannot load")


def test_prompts_from_standard_input(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PROMPT}\n\nIs it?\n"))
    assert [row["prompt"] for row in run("ask", model, "-", "--json").rows] == [PROMPT, "Is it?"]
