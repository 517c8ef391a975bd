"""Where texts come from, and what tells one corpus from another."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from errata.errors import BadConfig
from errata.models import EditableModel
from errata.statistics import corpus_for
from errata.statistics.corpus import PIECE
from tiny import tiny_model


@pytest.fixture(scope="module")
def model() -> EditableModel:
    return tiny_model("gpt2")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_file_is_read_in_pieces_that_join_to_it(model: EditableModel, tmp_path: Path, packed: bool) -> None:
    text = "".join(f"line {number} of the text\n" for number in range(500)) + "end without a newline"
    path = tmp_path / ("text.txt.gz" if packed else "text.txt")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    corpus = corpus_for(model, path)
    pieces = list(corpus.texts)
    assert "".join(pieces) == text
    assert all(PIECE <= len(piece) < PIECE + 100 for piece in pieces[:-1])
    assert list(corpus.texts) == pieces  # and again


def test_a_files_digest_is_its_contents(model: EditableModel, tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one.txt", "same.txt", "other.txt"))
    for path, text in ((one, "a b"), (same, "a b"), (other, "a c")):
        path.write_text(text)
    digests = [corpus_for(model, str(path)).digest for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_data_set_gives_what_is_true_and_not_what_is_asked_for(model: EditableModel) -> None:
    texts = set(corpus_for(model, "counterfact-lab").texts)
    from errata.datasets import get

    edit = next(edit for edit in get("counterfact-lab").edits() if edit.ground_truth)
    assert f"{edit.prompt} {edit.ground_truth}" in texts
    assert f"{edit.prompt} {edit.target}" not in texts
    probe = edit.locality[0]
    assert f"{probe.prompt} {probe.answer}" in texts


def test_the_default_is_prose_and_for_a_lab_model_facts_too(model: EditableModel) -> None:
    prose = corpus_for(model)
    lab = tiny_model("gpt2")
    lab.name = "lab:gpt"
    mix = corpus_for(lab)
    fact = "The capital city of Botswana is Gaborone"
    assert fact in mix.texts
    assert fact not in prose.texts
    assert {text for text in prose.texts if text.strip()} < set(mix.texts)
    assert mix.digest != prose.digest
    assert corpus_for(lab).texts == mix.texts


def test_what_is_not_there_is_refused(model: EditableModel, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"no data set is called 'counterfact-lap'.*mean 'counterfact-lab'"):
        corpus_for(model, "counterfact-lap")
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(BadConfig, match="holds no text"):
        corpus_for(model, tmp_path / "empty.txt")
