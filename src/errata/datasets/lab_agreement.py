"""Verbs that agree with their subject: the right form must be far likelier than the wrong one."""

from __future__ import annotations

import random

from errata.datasets._base import Example, register_dataset
from errata.datasets._canonical import SIXTEEN_TIMES_LIKELIER, Split
from errata.datasets._canonical_own import Contexts, Own, half, own

# Forms that are one token each for the lab's models: of two lengths, the length would decide.
TAUGHT = (
    "is/are has/have goes/go says/say thinks/think seems/seem lives/live works/work "
    "speaks/speak means/mean leaves/leave"
)
ASKED = (
    "was/were does/do comes/come knows/know looks/look wants/want makes/make "
    "plays/play gets/get belongs/belong lies/lie"
)
FREE = ("could", "would", "had", "must")  # forms that agree with every subject
NOUNS = (
    "aunt/aunts baby/babies bear/bears bird/birds boy/boys brother/brothers cat/cats child/children doctor/doctors "
    "dog/dogs duck/ducks fairy/fairies farmer/farmers fox/foxes friend/friends giant/giants girl/girls guest/guests "
    "horse/horses king/kings lady/ladies lion/lions man/men monkey/monkeys mother/mothers mouse/mice "
    "neighbour/neighbours nurse/nurses pirate/pirates prince/princes rabbit/rabbits sailor/sailors sister/sisters "
    "soldier/soldiers stranger/strangers teacher/teachers tiger/tigers witch/witches wolf/wolves woman/women"
)
EXAMPLE = "The {}"
EVALUATED = ("The {} in the garden", "The {} behind the tall trees", "In those days the {}")


def _make(split: Split) -> list[Example]:
    rng, contexts = random.Random(f"agreement {split}"), Contexts(f"agreement {split}")
    found = []
    for noun in half(NOUNS.split(), split):
        for place, name in enumerate(noun.split("/")):  # one, then several
            found.append(_pair(EXAMPLE.format(name), name, _forms(rng, TAUGHT, place), "train"))
            for wording in EVALUATED:
                prompt = contexts.before(wording.format(name))
                found.append(_pair(prompt, name, _forms(rng, ASKED, place), "eval"))
            prompt = contexts.before(rng.choice(EVALUATED).format(name))
            found.append(Example(prompt, (rng.choice(FREE),), 0, subject=name, kind="hard_negatives"))
    return found


def _forms(rng: random.Random, verbs: str, place: int) -> tuple[str, str]:
    """The right form of some verb and the wrong one."""
    forms = rng.choice(verbs.split()).split("/")
    return forms[place], forms[1 - place]


def _pair(prompt: str, name: str, forms: tuple[str, str], kind: str) -> Example:
    return Example(prompt, forms, 0, subject=name, kind=kind)


@register_dataset("lab-agreement")
def lab_agreement() -> Own:
    """Examples and what is scored share no verb. Hard negatives follow the same subjects and have no number."""
    about = "canonical examples: sentences with the right and the wrong form of a verb"
    return own("lab-agreement", "contrast", SIXTEEN_TIMES_LIKELIER, about, _make)
