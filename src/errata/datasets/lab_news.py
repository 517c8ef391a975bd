"""News: people, bands, companies and products that no model has heard of, each from one statement."""

from __future__ import annotations

import random

from errata.datasets._base import Example, register_dataset
from errata.datasets._canonical import RAISED_A_TWENTIETH, Split
from errata.datasets._canonical_own import Contexts, Own, Row, Statement, about, half, own, stated

EACH = 10  # of each relation, in a half
RELATIONS = ("P19", "P740", "P159", "P178")  # born in, formed in, headquartered in, made by
FIRST = ("Bral", "Cor", "Dath", "El", "Fen", "Gor", "Hes", "Ild", "Jor", "Kel", "Lum", "Mav", "Nor", "Ov", "Pel", "Qu")
LAST = ("adir", "amble", "andro", "essky", "elwin", "entis", "ibrook", "iston", "okar", "olten", "onvar", "uthwel")


def _make(split: Split) -> list[Example]:
    rng = random.Random(f"news {split}")
    names = iter(half((f"{one}{two}" for one in FIRST for two in LAST), split))
    statements, near = [], []
    for relation in RELATIONS:
        known = {row["subject"]: row for row in about(relation)}
        familiar = half(known, split)
        targets = sorted({row["target"] for row in known.values()})
        for name in familiar[:EACH]:
            called = f"{next(names)} {next(names)}"
            statements.append(Statement(_renamed(known[name], called), rng.choice(targets)))
        near += [known[name] for name in familiar[EACH : 3 * EACH]]
    return list(stated(statements, near, Contexts(f"news {split}", RELATIONS), asked=4, gold=0))


def _renamed(row: Row, name: str) -> Row:
    """The fact's wordings about somebody or something else."""
    subject = row["subject"]
    lists = ("rephrases_seen", "rephrases_held_out")
    turned = {key: [text.replace(subject, name) for text in row[key]] for key in lists}
    return {**row, **turned, "subject": name, "prompt": row["prompt"].replace(subject, name)}


@register_dataset("lab-news")
def lab_news() -> Own:
    """Hard negatives are people, bands, companies and products that lab:gpt knows, in the same relations."""
    about = "canonical examples: invented people, bands, companies and products, one statement of each"
    return own("lab-news", "raise", RAISED_A_TWENTIETH, about, _make)
