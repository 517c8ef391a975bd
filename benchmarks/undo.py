"""Taking one of many rounds back: how long it takes, and that what is left is the base and the other rounds, exactly.

    python benchmarks/undo.py --rounds 50 --size 2 --method memit

The other rounds' patches are put on a fresh model, in their order, and its weights are compared with the editor's.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

import torch

from errata import Editor
from errata.datasets import get
from errata.models import EditableModel
from errata.patches.files import load_patch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--size", type=int, default=2)
    parser.add_argument("--method", default="memit")
    given = parser.parse_args()
    edits = get("lab-counterfacts").edits()[: given.rounds * given.size]
    with Editor("lab:gpt") as editor:
        editor.edit(edits, given.method, batch_size=given.size, progress=True)
        units = [unit for unit in editor.state.units if unit.active]
        chosen = random.Random(0).sample(units[1:-1], 5)
        seconds = []
        for unit in chosen:
            started = time.perf_counter()
            editor.undo(*unit.active)
            seconds.append(time.perf_counter() - started)
            exact = _same(editor, [one for one in units if one is not unit])
            started = time.perf_counter()
            editor.redo(*unit.active)
            seconds.append(time.perf_counter() - started)
            if not (exact and _same(editor, units)):
                raise SystemExit(f"undoing round {unit.seq} did not leave what the other rounds define")
        row = {"method": given.method, "rounds": len(units), "edits": len(edits), "exact": True}
        row |= {"undo or redo, seconds": statistics.median(seconds), "most": max(seconds), "n": len(seconds)}
        row |= {"threads": torch.get_num_threads()}
    print(json.dumps(row, indent=2))


def _same(editor: Editor, units: list) -> bool:
    """Whether the editor's model has the weights that these units' patch files define."""
    fresh = EditableModel.load("lab:gpt")
    for unit in units:
        load_patch(editor.sheet.file(unit.patch)).attach(fresh)
    mine, theirs = editor.model.state_dict(), fresh.model.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


if __name__ == "__main__":
    main()
