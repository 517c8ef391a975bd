"""`errata senses`: every sense of every token of a word, as text and as JSON; mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Run

from tiny import tiny_model


@pytest.fixture(scope="module")
def backpack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "backpack"
    model = tiny_model("backpack")
    model.model.save_pretrained(directory)
    model.tokenizer.save_pretrained(directory)
    return directory


def test_a_word_is_told(run: Run, backpack: Path) -> None:
    ran = run("senses", backpack, "capital", "--top", 3)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "capital"
    assert [line.split()[:2] for line in lines[1::2]] == [["sense", str(sense)] for sense in range(16)]
    assert lines[1].split("+", 1)[1].count(", ") == 2
    assert lines[2].startswith("            - ")


def test_a_word_of_several_tokens_as_json(run: Run, backpack: Path) -> None:
    rows = run("senses", backpack, "Zagreb", "--top", 2, "--json").rows
    tokens = tiny_model("backpack").tokenizer(" Zagreb")["input_ids"]
    assert len(tokens) > 1
    assert [(row["place"], row["sense"]) for row in rows] == [(p, s) for p in range(len(tokens)) for s in range(16)]
    assert "".join(row["token"] for row in rows[::16]) == " Zagreb"
    for row in rows:
        assert set(row) == {"token", "place", "sense", "norm", "top", "lowest"}
        (first, second), (last, before) = row["top"], row["lowest"]
        assert first["logit"] >= second["logit"] > before["logit"] >= last["logit"]


def test_mistakes_are_one_line(run: Run, backpack: Path, causal: Path) -> None:
    run("senses", causal, "capital").one_line_error("is a GPT2LMHeadModel", "give a Backpack")
    run("senses", backpack, " ").one_line_error("no word")
    run("senses", backpack, "capital", "--top", 0).one_line_error("--top")
