"""`errata locate`: figures on the terminal, as JSON and in files; a second run goes on; mistakes are one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Run, content

FACTS = [
    {"prompt": f"The capital of {country} is", "target": city, "subject": country}
    for country, city in (("Angola", "Luanda"), ("France", "Paris"), ("Botswana", "Rome"))
]
QUICK = ("--samples", 1)
PICTURE = b"\x89PNG\r\n"


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    return lines(tmp_path / "facts.jsonl", *FACTS)


def lines(path: Path, *rows: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_tracing_tells_and_writes(run: Run, facts: Path, tmp_path: Path) -> None:
    words = ("locate", "--model", "lab:gpt", facts, "--out", "trace", *QUICK)
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("2 facts traced in ")
    assert "(1 left out: the model's answer is another)" in ran.out
    assert "last subject token" in ran.out
    files = content(tmp_path / "trace")
    assert set(files) == {"traces.jsonl", "effects.json", "effects.png", "curves.png"}
    assert files["effects.png"].startswith(PICTURE)
    assert files["curves.png"].startswith(PICTURE)
    card = json.loads(files["effects.json"])
    assert (card["n"], card["unknown"], card["seed"], card["samples"]) == (2, 1, 0, 1)
    assert run(*words).out == ran.out, "a second run takes everything from the record"
    assert content(tmp_path / "trace") == files
    run(*words, "--seed", 1).one_line_error("other work")
    assert content(tmp_path / "trace") == files


def test_tracing_as_json(run: Run) -> None:
    ran = run("locate", "--model", "lab:gpt", "--dataset", "lab-facts", "--n", 1, *QUICK, "--json")
    assert [row["kind"] for row in ran.rows[:3]] == ["clean", "corrupted", "total"]
    assert {row["kind"] for row in ran.rows[3:]} == {"state", "mlp", "attention"}
    assert set(ran.rows[3]) == {"kind", "class", "block", "n", "mean", "low", "high"}
    assert {row["block"] for row in ran.rows[3:]} == set(range(8))


def test_salience_tells_and_writes(run: Run, model: Path, tmp_path: Path) -> None:
    file = lines(tmp_path / "edits.jsonl", {"prompt": "Is it?", "target": "yes"}, {"prompt": "Who?", "target": "no"})
    words = ("locate", "--model", model, file, "--by", "salience")
    ran = run(*words, "--out", "out")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("salience (l1) on 2 samples: ")
    files = content(tmp_path / "out")
    assert set(files) == {"samples.jsonl", "salience.json", "salience.png"}
    assert files["salience.png"].startswith(PICTURE)
    rows = run(*words, "--json").rows
    assert len(rows) == 4 * 3
    best = max(rows, key=lambda row: row["score"])
    assert f"block {best['block']:>3}  {best['role']}" in ran.out.splitlines()[1]
    assert json.loads(files["salience.json"])["matrices"] == rows


def test_a_dry_run_writes_nothing(run: Run, facts: Path, tmp_path: Path) -> None:
    for by, text in (("causal-tracing", "trace up to 3 facts"), ("salience", "take gradients on 3 edits")):
        ran = run("locate", "--model", "lab:gpt", facts, "--by", by, "--out", "out", "--dry-run")
        assert ran.out.startswith(f"would {text} of {facts}, and write ")
        assert ran.out.endswith("to out; nothing was done\n")
    assert not (tmp_path / "out").exists()


def test_mistakes_are_one_line(run: Run, facts: Path, model: Path, causal: Path, tmp_path: Path) -> None:
    lab = ("locate", "--model", "lab:gpt")
    run(*lab, "--by", "saliense").one_line_error("unknown way to locate 'saliense'. Did you mean 'salience'?")
    run(*lab, facts, "--dataset", "lab-facts").one_line_error("give a FILE or --dataset, not both")
    run(*lab, "nowhere.jsonl").one_line_error("nowhere.jsonl")
    run(*lab, lines(tmp_path / "bare.jsonl", {"prompt": "a", "target": "b"})).one_line_error("names a subject")
    wrong = lines(tmp_path / "wrong.jsonl", FACTS[0], {"prompt": "a", "target": "b", "subject": "c"})
    run(*lab, wrong).one_line_error("wrong.jsonl:2", "the subject 'c' does not occur in the prompt")
    run("locate", "--model", model, facts).one_line_error("is a classifier", "--by salience")
    run("locate", "--model", causal, facts).one_line_error("knows none of the 3 facts")
    run(*lab, facts, "--noise", 0).one_line_error("'noise' is 0.0")
    run("locate", facts).one_line_error("--model")
