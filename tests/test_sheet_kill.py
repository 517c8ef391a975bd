"""A writer killed with SIGKILL at random moments: what it acknowledged is there and the sheet is whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import errata.errors
from errata.journal.history import fold
from errata.sheet import Sheet

ROUNDS = 12
BASE = {"name": "lab:gpt", "fingerprint": "f" * 64, "task": "causal"}

# Applies, refits and copies for ever, and prints each event's number once it is recorded.
WRITER = """
import hashlib, os, random, sys, time
from errata.journal.events import Outcome, PatchFile, Recipe
from errata.sheet import Sheet

dice = random.Random(int(sys.argv[3]))
sheet = Sheet.open(sys.argv[1])

def write(name):
    content = dice.randbytes(dice.randrange(1, 40_000))
    aside = sheet.patches / f".{name}.tmp"
    with aside.open("wb") as stream:
        for start in range(0, len(content), 10_000):
            stream.write(content[start : start + 10_000])
            stream.flush()
            time.sleep(dice.random() / 500)
        os.fsync(stream.fileno())
    os.replace(aside, sheet.patches / name)
    return PatchFile(name, hashlib.sha256(content).hexdigest())

def acknowledge(seq):
    print(seq, flush=True)

while True:
    state = sheet.state()
    ids = state.next_ids(2)
    outcomes = [Outcome(id, {"prompt": dice.choice("abcdef"), "target": "t"}) for id in ids]
    file = write(f"{state.head + 1}.safetensors")
    seq = sheet.record_apply(outcomes, Recipe("memit", {}, 1), expect_head=state.head, patch=file)
    acknowledge(seq)
    refit = write(f"{seq}-refit.safetensors")
    acknowledge(sheet.record_change("undo", ids[:1], expect_head=seq, replaced={seq: refit}).seq)
    if dice.random() < 0.5:
        acknowledge(sheet.record_change("redo", ids[:1], expect_head=seq + 1, replaced={seq: file}).seq)
    if dice.random() < 0.3:
        sheet.copy_to(sys.argv[2])
"""


def run_and_kill(path: Path, copy: Path, dice: random.Random) -> int:
    """Starts a writer, kills it at a random moment and returns the last event that it acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-S", "-c", WRITER, str(path), str(copy), str(dice.random())[2:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(errata.errors.__file__).parents[1])},
        text=True,
    )
    assert writer.stdout is not None
    said = ""
    for _ in range(dice.randrange(6)):
        said += writer.stdout.readline()
    time.sleep(dice.random() / 20)
    writer.send_signal(signal.SIGKILL)
    rest, trouble = writer.communicate()
    assert (writer.returncode, trouble) == (-signal.SIGKILL, "")
    complete = (said + rest).rpartition("\n")[0].split()
    return int(complete[-1]) if complete else 0


def test_a_killed_writer_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    path, copy_path = tmp_path / "sheet", tmp_path / "copy"
    Sheet.create(path, BASE).close()
    dice, acknowledged = random.Random(7), 0
    for _ in range(ROUNDS):
        acknowledged = max(acknowledged, run_and_kill(path, copy_path, dice))
        with Sheet.open(path) as sheet:
            events = sheet.events()
            assert acknowledged <= len(events) <= acknowledged + 1  # one may be recorded but not yet printed
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert fold(events) == sheet.state()
            sheet.verify()
            acknowledged = len(events)
        if copy_path.exists():
            with Sheet.open(copy_path) as copy:
                copy.verify()
                assert copy.events() == events[: len(copy.events())]
    assert acknowledged > ROUNDS
    assert copy_path.exists()
