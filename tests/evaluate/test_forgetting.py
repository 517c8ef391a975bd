"""The forgetting protocol: tasks that no edit is about, asked at every checkpoint and before any edit."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import recipe

from errata.evaluate.runner import run


def test_tasks_are_graded_at_every_checkpoint(tmp_path: Path):
    pytest.importorskip("lm_eval")
    chosen = recipe(tmp_path, methods=["ft"], downstream=["lab-choices"], downstream_n=4, texts=0)
    results = run(chosen, tmp_path / "out")
    rows = results.run(results.recipe.methods[0]).figures()
    assert [row["edits"] for row in rows] == [2, 4]
    for row in rows:
        figures = row["figures"]
        assert figures["downstream.lab-choices"]["n"] == 4
        change = figures["downstream.lab-choices"]["value"] - figures["downstream.lab-choices.before"]["value"]
        assert figures["downstream.lab-choices.change"]["value"] == pytest.approx(change)
