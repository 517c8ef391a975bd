"""Counterfactual edits of the lab's own facts, as many as its table allows: for streams longer than CounterFact's.

Every known fact of the split "edit" gets an answer that another subject of its relation has. One fact of a subject with
several stays true, so that there is something about an edited subject that must not move. Knows facts; knows no model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from functools import cache
from typing import Any

from errata.datasets.lab_facts import rows
from errata.edits import Edit, Probe

NEIGHBOURS = 2  # of an edit that are asked
_SEED = 0


@cache
def counterfacts() -> tuple[Edit, ...]:
    """The edits, in an order of chance. Rephrases are wordings that no lab model was trained on."""
    order = random.Random(_SEED)
    known = [row for row in rows("edit") if row["known"]]
    order.shuffle(known)
    spared = _spared(known)
    edited = [row for row in known if row["prompt"] not in spared]
    moved = {wording for row in edited for wording in _wordings(row)}
    truth = {wording: row["target"] for row in rows() for wording in _wordings(row)}
    answers = {relation: sorted(found) for relation, found in _answers(known).items()}
    return tuple(_edit(row, order, answers[row["relation"]], moved, truth) for row in edited)


def _spared(facts: list[dict[str, Any]]) -> set[str]:
    """Prompts of one fact of every subject that has several."""
    of: dict[str, list[str]] = defaultdict(list)
    for row in facts:
        of[row["subject"]].append(row["prompt"])
    return {prompts[0] for prompts in of.values() if len(prompts) > 1}


def _answers(facts: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in facts:
        found[row["relation"]].add(row["target"])
    return found


def _wordings(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], *row["rephrases_seen"], *row["rephrases_held_out"]]


def _edit(
    row: dict[str, Any], order: random.Random, answers: list[str], moved: set[str], truth: dict[str, str]
) -> Edit:
    target = order.choice([answer for answer in answers if answer != row["target"]])

    def unmoved(name: str, kind: str) -> list[Probe]:
        asked = [prompt for prompt in row[name] if prompt not in moved]
        return [Probe(prompt, truth.get(prompt), kind) for prompt in asked[:NEIGHBOURS]]

    return Edit(
        row["prompt"], target, row["subject"], ground_truth=row["target"], rephrases=tuple(row["rephrases_held_out"]),
        locality=(*unmoved("neighbours", "neighbour"), *unmoved("same_subject", "same_subject")),
    )  # fmt: skip
