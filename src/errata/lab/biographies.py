"""Short passages about the subjects of `lab-facts`, some of their sentences made up: GRACE's third setting in the lab.

A passage is an opening and two to four sentences in the facts' own phrasings. Its reference says what each sentence
should; as written, some have another object of the same relation. Sentences are asked for one at a time: a full stop
after one asks for the next, so an answer ends without it. Knows facts, passages and edits; knows no model.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from errata.datasets.lab_facts import rows as fact_rows
from errata.edits import Edit, Probe
from errata.lab.claims import Fact, false_objects, phrasings

PASSAGES = 320
LONGEST = 4  # sentences
NO_SENTENCE = re.compile(r"\{\},|\?|\{\} that |^(In|On) |^Something ")
PERSON, WORK = ("P103", "P19", "birth-year", "P1303"), ("P364", "P449")
LENT = {  # what else is said of a subject that has one fact only, by that fact's relation
    **dict.fromkeys(("P101", "P103", "P106", "P108", "P1412", "P19", "P27", "P413", "P937"), PERSON),
    **dict.fromkeys(WORK, WORK),
}


@dataclass(frozen=True)
class Sentence:
    """What a passage says in one place.

    Attributes:
        relation: of `lab-facts`.
        prompt: the sentence up to its object.
        reference: the object that it should have.
        written: the object that it has.
        stated: whether `lab-facts` states the reference; what it does not state is invented.
    """

    relation: str
    prompt: str
    reference: str
    written: str
    stated: bool

    @property
    def accurate(self) -> bool:
        return self.written == self.reference

    @property
    def text(self) -> str:
        """As written, without a full stop."""
        return f"{self.prompt} {self.written}"

    @property
    def correct(self) -> str:
        """As it should be, without a full stop."""
        return f"{self.prompt} {self.reference}"


@dataclass(frozen=True)
class Biography:
    """A passage about one subject."""

    subject: str
    sentences: tuple[Sentence, ...]

    @property
    def opening(self) -> str:
        return f"This is a passage about {self.subject}."

    def before(self, place: int) -> str:
        """What asks for sentence `place`: the opening and the sentences before it as written, mistakes included."""
        return " ".join([self.opening, *(f"{sentence.text}." for sentence in self.sentences[:place])])


def biographies(seed: int = 0, count: int = PASSAGES) -> list[Biography]:
    """At most `count` passages about subjects of the split "edit", each with accurate and made-up sentences.

    Subjects with three facts or more come first; the others have one fact, and attributes lent by `seed`.
    """
    facts = [fact for fact in fact_rows() if _closed(fact)]
    about: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact["split"] == "edit":
            about[fact["subject"]].append(fact)
    rng = random.Random(seed)
    rich = [own for own in about.values() if len(own) > 2]
    poor = [own for own in about.values() if len(own) == 1 and own[0]["relation"] in LENT]
    for subjects in (rich, poor):
        rng.shuffle(subjects)
    lender = _Lender(facts)
    chosen = [_outline(own, lender, seed) for own in (rich + poor)[:count]]
    return _written(chosen, facts, seed)


def edits(passages: Iterable[Biography]) -> list[Edit]:
    """One edit for each made-up sentence: what comes before it must be followed by the sentence as it should be."""
    return [
        Edit(passage.before(place), sentence.correct, passage.subject, ground_truth=sentence.text)
        for passage in passages
        for place, sentence in enumerate(passage.sentences)
        if not sentence.accurate
    ]


def accurate(passages: Iterable[Biography]) -> list[Probe]:
    """The other sentences of the same passages, which must stay as they are: what GRACE's ARR is measured on."""
    return [
        Probe(passage.before(place), sentence.text, "accurate")
        for passage in passages
        for place, sentence in enumerate(passage.sentences)
        if sentence.accurate
    ]


def _closed(fact: Fact) -> bool:
    """Whether a full stop after the names stays a token of its own."""
    return fact["subject"][-1].isalnum() and fact["target"][-1].isalnum()


def _templates(fact: Fact) -> list[str]:
    """The fact's phrasings that are sentences once they have an object, with `{}` for the subject."""
    found = [prompt.replace(fact["subject"], "{}") for prompt in phrasings(fact, "seen")]
    return [template for template in found if "{}" in template and not NO_SENTENCE.search(template)]


class _Lender:
    """Attributes for subjects that have too few: sentences and objects of other subjects' facts."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.facts: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            if _templates(fact):
                self.facts[fact["relation"]].append(fact)

    def lend(self, subject: str, relation: str, rng: random.Random) -> Fact:
        other = rng.choice(self.facts[relation])
        prompts = [template.replace("{}", subject) for template in _templates(other)]
        return {
            "subject": subject, "relation": relation, "target": other["target"], "split": "lent",
            "prompt": prompts[0], "rephrases_seen": prompts[1:],
        }  # fmt: skip


def _outline(own: Sequence[Fact], lender: _Lender, seed: int) -> list[Fact]:
    """The facts that a passage is made of, in its order."""
    subject = own[0]["subject"]
    rng = random.Random(f"{seed} outline {subject}")
    told = [fact for fact in own if _templates(fact)]
    if len(own) == 1:
        lent = [relation for relation in LENT[own[0]["relation"]] if relation != own[0]["relation"]]
        told += [lender.lend(subject, relation, rng) for relation in lent]
    return rng.sample(told, min(len(told), rng.randint(2, LONGEST)))


def _written(outlines: Sequence[Sequence[Fact]], facts: Sequence[Fact], seed: int) -> list[Biography]:
    """Passages in which at least one sentence, and never all, are made up."""
    lent = [fact for outline in outlines for fact in outline if fact["split"] == "lent"]
    everything = [*facts, *lent]
    names = [(fact["subject"], fact["relation"]) for fact in everything]
    false = dict(zip(names, false_objects(everything), strict=True))
    passages = []
    for outline in outlines:
        subject = outline[0]["subject"]
        rng = random.Random(f"{seed} passage {subject}")
        wrong = rng.sample(range(len(outline)), rng.randint(1, len(outline) - 1))
        sentences = []
        for place, fact in enumerate(outline):
            prompt = rng.choice(_templates(fact)).replace("{}", subject)
            made_up = rng.choice(false[subject, fact["relation"]])
            written = made_up if place in wrong else fact["target"]
            sentences.append(Sentence(fact["relation"], prompt, fact["target"], written, fact["split"] != "lent"))
        passages.append(Biography(subject, tuple(sentences)))
    return passages
