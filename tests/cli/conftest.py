"""A tiny model directory, a sheet without a model, and a runner that calls `main` as the shell would."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Ran, Run

from errata.cli import main
from errata.sheet import Sheet
from sheets import BASE, add, change


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ERRATA_SHEET", raising=False)
    monkeypatch.delenv("ERRATA_DEBUG", raising=False)

    def call(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A sheet of three edits in two applies, the second replacing the first's `a`; then e2 undone."""
    path = tmp_path / "written"
    with Sheet.create(path, BASE) as sheet:
        add(sheet, "a", "b")
        add(sheet, "a")
        change(sheet, "undo", "e2")
    return path


def _saved(arch: str, directory: Path) -> Path:
    from tiny import tiny_model

    editable = tiny_model(arch)
    editable.model.save_pretrained(directory)
    editable.tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier on disk: it answers no, maybe or yes, and one edit takes a moment."""
    return _saved("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk that writes text."""
    return _saved("gpt2", tmp_path_factory.mktemp("models") / "gpt2")
