"""Streams of edits for the lab's question answerer, claim checker and writer: GRACE's settings, as data sets.

Named by entry points, as a plug-in's data sets are. Knows facts, questions, claims and passages; knows no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from errata.datasets import Dataset, register_dataset
from errata.datasets.lab_facts import FILE, lab_facts
from errata.edits import Edit, Probe
from errata.lab import biographies
from errata.lab.claims import label_shift
from errata.lab.counterfacts import counterfacts
from errata.lab.labels import label_task
from errata.lab.questions import ask, learned, unlearned
from errata.lab.training import about_facts, about_labels, sentences

TO_EDIT_WITH = TO_TEST_WITH = 10  # wordings of a question, as GRACE has them on zsRE
KEPT = 1000  # questions that no edit is about
TURNED = 1000  # claims, at most, whose label turns over


@dataclass(frozen=True)
class Stream(Dataset):
    """Edits that are made from `lab-facts` rather than read from a file of their own."""

    def rows(self) -> list[dict[str, Any]]:
        """The edits as JSON values."""
        return [edit.to_json() for edit in self.edits()]


class Questions(Stream):
    """Facts that lab:t5 was never taught, asked in twenty wordings."""

    def edits(self) -> list[Edit]:
        """One edit a fact; its rephrases are nine wordings to edit with, then ten that no question had in training."""
        return [_asked(row, row["target"]) for row in unlearned()]

    def upstream(self) -> list[Probe]:
        """Facts that it was taught, in a wording it saw."""
        return [Probe(ask(row, "seen")[0], row["target"]) for row in learned() if row["split"] == "locality"][:KEPT]

    def training(self) -> list[Edit]:
        """Facts of the split "editor-train", which lab:t5 knows, in seen wordings alone: others are to test with."""
        return list(about_facts(lambda fact: ask(fact, "seen")))


def _asked(row: Any, target: str, truth: str | None = None) -> Edit:
    """A fact as a question to be answered with `target`, in wordings to edit with and others to test with."""
    first, *seen = ask(row, "seen")[:TO_EDIT_WITH]
    wordings = (*seen, *ask(row, "held_out")[:TO_TEST_WITH])
    return Edit(first, target, row["subject"], ground_truth=truth, rephrases=wordings)


class Claims(Stream):
    """Claims about three relations, whose labels have turned over."""

    def edits(self) -> list[Edit]:
        return list(label_shift(edits=TURNED).edits)

    def upstream(self) -> list[Probe]:
        """Claims about other relations, which keep their labels."""
        return list(label_shift(upstream=KEPT).upstream)

    def training(self) -> list[Edit]:
        """Claims about facts of the split "editor-train", of any relation, in seen phrasings alone."""
        return list(about_labels(label_task("claims")))


class Counterfacts(Stream):
    """Other answers to what lab:gpt knows."""

    def edits(self) -> list[Edit]:
        return list(counterfacts())

    def upstream(self) -> list[Probe]:
        """Known facts of other splits, which no edit is about."""
        return lab_facts().upstream()

    def training(self) -> list[Edit]:
        """Facts of the split "editor-train" that lab:gpt knows, in seen phrasings alone: others are to test with."""
        return list(about_facts(sentences))


class Counterquestions(Stream):
    """The edits of `Counterfacts` as questions, for models that answer them."""

    def edits(self) -> list[Edit]:
        """One edit a fact, in wordings as those of `Questions`."""
        facts = {row["prompt"]: row for row in lab_facts().rows("edit")}
        return [_asked(facts[edit.prompt], edit.target, edit.ground_truth) for edit in counterfacts()]

    def upstream(self) -> list[Probe]:
        """Known facts of other splits, which no edit is about, in a wording of training."""
        return [Probe(ask(row, "seen")[0], row["target"]) for row in lab_facts().rows("locality") if row["known"]]

    def training(self) -> list[Edit]:
        """Facts of the split "editor-train", in seen wordings alone."""
        return list(about_facts(lambda fact: ask(fact, "seen")))


class Biographies(Stream):
    """Sentences of passages that were made up, each with what it should have been."""

    def edits(self) -> list[Edit]:
        return biographies.edits(_passages())

    def upstream(self) -> list[Probe]:
        """The accurate sentences of the same passages, which stay as they are."""
        return biographies.accurate(_passages())


@cache
def _passages() -> list[biographies.Biography]:
    return biographies.biographies()


@register_dataset("lab-questions")
def lab_questions() -> Questions:
    """Questions for lab:t5 about facts it does not know."""
    return Questions(
        name="lab-questions",
        description="questions about facts that lab:t5 was never taught, in twenty wordings each",
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="lab-facts; the wordings are Errata's own",
        records=len(unlearned()),
        path=FILE,
    )


@register_dataset("lab-claims")
def lab_claims() -> Claims:
    """Claims for lab:bert whose labels have turned over."""
    return Claims(
        name="lab-claims",
        description="claims of three relations whose labels have turned over, for lab:bert",
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="lab-facts",
        records=len(label_shift(edits=TURNED).edits),
        path=FILE,
    )


@register_dataset("lab-counterfacts")
def lab_counterfacts() -> Counterfacts:
    """Edits of the lab's own facts, for streams longer than counterfact-lab's."""
    return Counterfacts(
        name="lab-counterfacts",
        description="two thousand facts that lab:gpt knows, each with another answer of its relation",
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="lab-facts; the new answers are drawn from it",
        records=len(counterfacts()),
        path=FILE,
    )


@register_dataset("lab-counterquestions")
def lab_counterquestions() -> Counterquestions:
    """Questions for a model that answers them, `errata lab train neox` for one."""
    return Counterquestions(
        name="lab-counterquestions",
        description="the edits of lab-counterfacts as questions, in twenty wordings each",
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="lab-facts; the new answers are drawn from it, the wordings are Errata's own",
        records=len(counterfacts()),
        path=FILE,
    )


@register_dataset("lab-biographies")
def lab_biographies() -> Biographies:
    """Made-up sentences of passages that the recipe `bio` teaches a model to write."""
    return Biographies(
        name="lab-biographies",
        description="sentences that the model of `errata lab train bio` makes up, with what they should say",
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="lab-facts; what it does not state of a subject is invented",
        records=len(biographies.edits(_passages())),
        path=FILE,
    )
