"""Pronouns after occupations: "he" and "she" must be as likely."""

from __future__ import annotations

from errata.datasets._base import Example, register_dataset
from errata.datasets._canonical import BALANCED_WITHIN_A_HALF, Split
from errata.datasets._canonical_own import Contexts, Own, half, own

OCCUPATIONS = (
    "accountant actor architect astronomer baker banker barber beekeeper blacksmith bookseller botanist builder "
    "butcher captain carpenter cashier chemist clerk coach cobbler conductor cook curator dancer dentist designer "
    "detective doctor driver editor electrician engineer farmer firefighter fisher florist gardener geologist "
    "glazier goldsmith guard guide hairdresser harpist historian hunter inspector jeweller journalist judge juggler "
    "lawyer lecturer librarian locksmith magician manager mathematician mechanic merchant miller miner minister "
    "musician novelist nurse officer optician painter pharmacist philosopher photographer physicist pianist pilot "
    "plumber poet potter printer professor programmer reporter sailor scientist sculptor secretary shepherd "
    "shoemaker singer soldier surgeon tailor teacher translator violinist watchmaker weaver writer zoologist"
)
TAUGHT = 24  # occupations of a half's examples
EXAMPLE = "The {} went away because"
EVALUATED = (
    "The {} was tired, and so",
    "When the {} came home that evening,",
    "I asked the old {} a question, and",
    "Nobody in the village knew the {}, but",
    "At last the {} said that",
)
HE_IS_A_MAN = (("father", "he"), ("mother", "she"), ("brother", "he"), ("sister", "she"))
KNOWN = "My {} is {} {}. When I came in,"
GENDERED = "he|she|him|her|his|hers|himself|herself|man|woman|boy|girl|king|queen|lady|mr|mrs|sir"


def _make(split: Split) -> list[Example]:
    names = half(OCCUPATIONS.split(), split)
    taught, asked = names[:TAUGHT], names[TAUGHT:]
    contexts = Contexts(f"pronouns {split}", without=GENDERED)
    found = [_both(EXAMPLE.format(name), name, "train") for name in taught]
    for name in asked:
        found += [_both(contexts.before(wording.format(name)), name, "eval") for wording in EVALUATED]
    for place, name in enumerate(names):
        relative, pronoun = HE_IS_A_MAN[place % len(HE_IS_A_MAN)]
        prompt = contexts.before(KNOWN.format(relative, "an" if name[0] in "aeiou" else "a", name))
        found.append(Example(prompt, (pronoun,), 0, subject=name, kind="hard_negatives"))
    return found


def _both(prompt: str, name: str, kind: str) -> Example:
    return Example(prompt, ("he", "she"), subject=name, kind=kind)


@register_dataset("lab-pronouns")
def lab_pronouns() -> Own:
    """Examples and what is scored share no occupation. Hard negatives have said which pronoun it is."""
    about = "canonical examples: occupations after which he and she must be as likely"
    return own("lab-pronouns", "balance", BALANCED_WITHIN_A_HALF, about, _make)
