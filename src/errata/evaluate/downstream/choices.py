"""Labelled examples that make downstream tasks offline: those of the data sets, and a choice among the lab's objects.

Knows examples; knows no harness and no model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from errata import datasets
from errata.datasets import Example
from errata.errors import BadEdit

LAB = "lab-choices"
OFFERED = 4  # objects of one relation, the right one among them


def is_data(name: str) -> bool:
    """Whether `examples` knows the name."""
    return name == LAB or name.partition("=")[0] in datasets.names()


def examples(name: str, limit: int | None = None, seed: int = 0) -> list[Example]:
    """The examples that have a right answer, in the seed's order, at most `limit` of them.

    Args:
        name: "lab-choices", or a data set of labelled examples, perhaps the user's own copy ("glue-sst2=PATH").

    Raises: UnknownName, BadEdit (the data set has no such examples, or they cannot be read).
    """
    found = lab_choices(seed) if name == LAB else datasets.open(name).examples()
    keyed = [example for example in found if example.gold is not None]
    if not keyed:
        raise BadEdit(f"no example of '{name}' has a right answer; name another data set, such as blimp")
    random.Random(seed).shuffle(keyed)
    return keyed[:limit]


def lab_choices(seed: int = 0) -> list[Example]:
    """Facts that the lab's model knows and no edit is about: the right object among four of its relation.

    The others are drawn by the seed from all objects of the relation, less any that is true of the subject as well.
    """
    rows, chance = datasets.get("lab-facts").rows(), random.Random(seed)
    objects: dict[str, set[str]] = defaultdict(set)
    true: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        objects[row["relation"]].add(row["target"])
        true[row["subject"], row["relation"]].add(row["target"])
    asked = [row for row in rows if row["split"] == "locality" and row["known"]]
    wrong = [objects[row["relation"]] - true[row["subject"], row["relation"]] for row in asked]
    return [_choice(row, sorted(others), chance) for row, others in zip(asked, wrong, strict=True)]


def _choice(row: Mapping[str, Any], others: Sequence[str], chance: random.Random) -> Example:
    offered = [row["target"], *chance.sample(others, OFFERED - 1)]
    chance.shuffle(offered)
    return Example(
        row["prompt"], tuple(offered), offered.index(row["target"]),
        kind=row["relation"], id=f"{row['subject']}, {row['relation']}",
    )  # fmt: skip
