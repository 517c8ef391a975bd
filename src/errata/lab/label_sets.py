"""The label tasks of the lab as data sets: a change of guideline as edits, and cases that it leaves alone.

Named by entry points, as a plug-in's data sets are. Knows label tasks and edits; knows no model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from errata.datasets import register_dataset
from errata.datasets.lab_facts import FILE
from errata.edits import Edit, Probe
from errata.lab.labels import LabelTask, label_task
from errata.lab.streams import KEPT, Stream
from errata.lab.training import about_labels

_SEED = 0


@dataclass(frozen=True)
class Labels(Stream):
    """Cases of one label task.

    Attributes:
        task: says what is labelled, and what the guideline moves.
    """

    task: LabelTask = field(kw_only=True)

    def edits(self) -> list[Edit]:
        """The cases of the split "edit" that the guideline moves, in an order of chance.

        The prompt is the case in its first seen wording; the other ones, then the held-out ones, are its rephrases.
        """
        asked = self.task.asked("edit", _SEED)
        random.Random(_SEED).shuffle(asked)
        return [
            Edit(
                case.seen[0], new, fact["subject"], ground_truth=case.label,
                rephrases=(*case.seen[1:], *case.held_out),
            )
            for fact, case in asked if (new := self.task.moved(fact, case))
        ]  # fmt: skip

    def upstream(self) -> list[Probe]:
        """Cases of the split "locality" that the guideline leaves alone, each with its label."""
        rng = random.Random(_SEED)
        kept = [case for fact, case in self.task.asked("locality", _SEED) if not self.task.moved(fact, case)]
        return [Probe(rng.choice(case.seen), case.label) for case in rng.sample(kept, KEPT)]

    def training(self) -> list[Edit]:
        """Cases of the split "editor-train", of any relation, each with another label by chance, in seen wordings."""
        return list(about_labels(self.task))


def _labels(name: str, description: str) -> Labels:
    found = label_task(name)
    return Labels(
        name=f"lab-{name}",
        description=description,
        licence="MIT, CC0-1.0, PDDL-1.0",
        source="lab-facts; the task and its guideline are Errata's own",
        records=sum(found.moved(fact, case) is not None for fact, case in found.asked("edit", _SEED)),
        path=FILE,
        task=found,
    )


@register_dataset("lab-relation")
def lab_relation() -> Labels:
    """Sentences whose label is the relation that they state."""
    return _labels("relation", "sentences of two relations that get others' labels, for `errata lab train relation`")


@register_dataset("lab-domain")
def lab_domain() -> Labels:
    """Sentences whose label is the domain that they are about."""
    return _labels("domain", "sentences of two relations that move to another domain, for `errata lab train domain`")


@register_dataset("lab-entailment")
def lab_entailment() -> Labels:
    """Pairs of sentences whose label says whether the second follows from the first."""
    return _labels("entailment", "pairs of sentences that no longer contradict, for `errata lab train entailment`")
