"""Peak memory of learning an editor and of editing with it, method beside method, each in a process of its own.

    python benchmarks/memory.py                          enn, salem and mend on lab:gpt
    python benchmarks/memory.py --model gpt2-xl --dataset counterfact --methods enn,salem

What is told is the highest resident set (getrusage), above what it was when the model was loaded and had answered once.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

MIB = 1 / 1024  # of what Linux counts in: KiB


def peak() -> float:
    """Highest resident set of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MIB


def work(phase: str, method: str, options: argparse.Namespace, editor: str) -> dict[str, Any]:
    """One phase, in this process: "load", "train" or "edit"."""
    from errata import EditableModel
    from errata.datasets import get
    from errata.methods._base import create
    from errata.methods._learned import LearnedMethod

    model = EditableModel.load(options.model)
    edits = get(options.dataset).training()[:400] if phase == "train" else get(options.dataset).edits()[: options.n]
    model.generate([edits[0].prompt])
    loaded = peak()
    if phase == "train":
        settings = {"steps": options.steps, "every": options.steps, "batch": options.batch}
        learner = create(method, settings)
        assert isinstance(learner, LearnedMethod)
        learner.train(model, edits, editor, validation=edits[:8])
    elif phase == "edit":
        maker = create(method, {"editor": editor})
        for number, edit in enumerate(edits):
            patch = maker.fit(model, [replace(edit, id=f"e{number}")]).patch
            assert patch is not None
    parameters = sum(one.numel() for one in model.model.parameters())
    return {"loaded": loaded, "peak": peak(), "parameters": parameters}


def apart(phase: str, method: str, editor: str, arguments: Sequence[str]) -> dict[str, Any]:
    """One phase in a process of its own, with the options of this one."""
    command = [sys.executable, __file__, *arguments, "--phase", phase, "--method", method, "--editor", editor]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab:gpt")
    parser.add_argument("--dataset", default="lab-counterfacts")
    parser.add_argument("--methods", default="enn,salem,mend", help="with commas between")
    parser.add_argument("--steps", type=int, default=20, help="of training")
    parser.add_argument("--batch", type=int, default=10, help="edits in one batch of training")
    parser.add_argument("-n", type=int, default=10, help="edits that are made, one at a time")
    for name in ("--phase", "--method", "--editor"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        print(json.dumps(work(options.phase, options.method, options, options.editor)))
        return
    names = options.methods.split(",")
    for name in tqdm(names, desc="methods", file=sys.stderr):
        with tempfile.TemporaryDirectory() as place:
            editor = str(Path(place) / "editor")
            found = {phase: apart(phase, name, editor, sys.argv[1:]) for phase in ("train", "edit")}
        size = found["train"]["parameters"] * 4 / 2**20
        above = {phase: round(one["peak"] - one["loaded"], 1) for phase, one in found.items()}
        print(json.dumps({"method": name, "model": options.model, "weights MiB": round(size, 1), "MiB above": above}))


if __name__ == "__main__":
    main()
