"""A small benchmark for the tests: a few edits of lab:gpt, what is asked about them, and a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from errata import datasets
from errata.edit_files import write_edits
from errata.evaluate.recipe import Recipe


def edits_file(path: Path, n: int = 4) -> Path:
    """Edits with few of their wordings and probes, each of which is asked at every checkpoint."""
    edits = datasets.get("counterfact-lab").edits()[:n]
    few = [replace(edit, rephrases=edit.rephrases[:2], locality=edit.locality[::3]) for edit in edits]
    write_edits(path, few)
    return path


def recipe(folder: Path, **changes: Any) -> Recipe:
    """Four edits by grace, measured after two and at the end."""
    values = {
        "model": "lab:gpt", "dataset": str(edits_file(folder / "edits.jsonl")), "methods": ["grace"],
        "checkpoints": [2], "upstream": "lab-facts", "upstream_n": 4, "texts": 2, "max_new_tokens": 8,
    }  # fmt: skip
    return Recipe.of(values | changes)
