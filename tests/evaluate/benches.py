"""A small benchmark for the tests: a few edits of lab:gpt, what is asked about them, and a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from errata import datasets
from errata.edit_files import write_edits
from errata.evaluate.recipe import Recipe


def edits_file(path: Path, n: int = 4) -> Path:
    write_edits(path, datasets.get("counterfact-lab").edits()[:n])
    return path


def recipe(folder: Path, **changes: Any) -> Recipe:
    """Four edits by grace, measured after two and at the end."""
    values = {
        "model": "lab:gpt", "dataset": str(edits_file(folder / "edits.jsonl")), "methods": ["grace"],
        "checkpoints": [2], "upstream": "lab-facts", "upstream_n": 4, "texts": 2, "max_new_tokens": 8,
    }  # fmt: skip
    return Recipe.of(values | changes)
