"""Facts of `lab-facts` as questions, in wordings to train on and others to test with; which facts are left untaught.

Knows facts, relations and texts; nothing of models or tokenizers.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from errata.datasets import get
from errata.edits import Edit

FILE = Path(__file__).parent / "data" / "questions.json"
UNLEARNED = 400  # facts

Row = Mapping[str, Any]
Part = Literal["seen", "held_out"]


@cache
def _data() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def templates(relation: str, part: Part) -> list[str]:
    """Questions with `{}` for the subject: every wording plain, then inside a frame ("Please tell me: ...").

    Seen and held-out questions share neither wordings nor frames.
    """
    frames, wordings = _data()["frames"][part], _data()["relations"][relation][part]
    return [*wordings, *(frames[i % len(frames)].replace("{}", text) for i, text in enumerate(wordings))]


def relations() -> list[str]:
    """Return the names of the relations that have questions."""
    return list(_data()["relations"])


def seen(relation: str) -> list[str]:
    """Return the wordings to train on, without frames."""
    return list(_data()["relations"][relation]["seen"])


def ask(row: Row, part: Part) -> list[str]:
    """Every question of one part about the fact `row`."""
    return [template.replace("{}", row["subject"]) for template in templates(row["relation"], part)]


@cache
def _untaught() -> frozenset[tuple[str, str]]:
    """(subject, relation) of the facts left out, taken from the relations in turn.

    Each answer stays the answer of two other facts of its relation, and is no other fact's about the same subject: the
    model knows the word and cannot read the fact off another one.
    """
    rng = random.Random(0)
    rows = get("lab-facts").rows()
    spare = Counter((row["relation"], row["target"]) for row in rows)
    about = Counter((row["subject"], row["target"]) for row in rows)
    pools: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["split"] == "edit" and about[row["subject"], row["target"]] == 1:
            pools[row["relation"]].append(row)
    for pool in pools.values():
        rng.shuffle(pool)
    chosen: set[tuple[str, str]] = set()
    while len(chosen) < UNLEARNED:
        for relation, pool in sorted(pools.items()):
            row = next((row for row in pool if spare[relation, row["target"]] > 2), None)
            if row is not None and len(chosen) < UNLEARNED:
                pool.remove(row)
                spare[relation, row["target"]] -= 1
                chosen.add((row["subject"], relation))
    return frozenset(chosen)


def unlearned() -> list[Row]:
    """The facts of the split "edit" that `lab:t5` is never taught, in the order of `lab-facts`."""
    return [row for row in get("lab-facts").rows() if (row["subject"], row["relation"]) in _untaught()]


def learned() -> list[Row]:
    """The facts that `lab:t5` is taught, in the order of `lab-facts`."""
    return [row for row in get("lab-facts").rows() if (row["subject"], row["relation"]) not in _untaught()]


def edit_of(row: Row) -> Edit:
    """The edit that teaches the fact `row`: its first question, with the held-out ones as rephrases."""
    prompt, rephrases = ask(row, "seen")[0], tuple(ask(row, "held_out"))
    return Edit(prompt=prompt, target=row["target"], subject=row["subject"], rephrases=rephrases)
