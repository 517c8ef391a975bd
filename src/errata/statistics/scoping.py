"""A scorer of scope for a model: learned from the questions in the package, cached by content.

Knows where the lessons come from and where results are kept. What is learned from them is in `scope.learning`; data
sets and the lab lie above this floor and are asked by name.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import re
from collections.abc import Mapping
from functools import cache as once
from typing import TYPE_CHECKING, Any

from errata.scope.encoders import encoder_for
from errata.scope.learning import RATES, STEPS, Calibration, learn
from errata.scope.lessons import Lesson
from errata.scope.scorer import Scorer
from errata.scope.vocabulary import Vocabulary
from errata.statistics import cache, kept
from errata.statistics.corpus import FACTS, packaged_prose
from errata.statistics.phrasings import SPLITS

if TYPE_CHECKING:
    from errata.models import EditableModel

KIND = "scope"
VERSION = 6
OTHERS = 3  # questions about the same subject in a lesson
PROSE = 1000  # sentences of ordinary text
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
# Relations that ask for nearly the same; one is no foreign question to the other.
ALIKE = (
    {"P103", "P1412", "language", "P37", "P364"}, {"P30", "continent"}, {"P106", "P101", "P39", "P136", "P413"},
    {"P27", "P495", "demonym", "P19", "P740"}, {"P159", "P740", "P937", "P19", "P20", "state"},
    {"industry", "sector"}, {"P178", "P449", "P108"}, {"birth-year", "founded", "took-office"},
)  # fmt: skip


def scope_for(model: EditableModel, encoder: str, *, seed: int = 0) -> Calibration:
    """Return the calibrated scorer of a model under an encoder, computed or from the cache.

    Raises:
        BadConfig: the encoder is not installed.
    """
    used, vocabulary = encoder_for(encoder, model), Vocabulary.of(model)
    key = {
        "version": VERSION, "encoder": used.name, "reads": [used.digest, vocabulary.digest], "seed": seed,
        "rates": RATES, "lessons": _digest(),
    }  # fmt: skip
    entry = cache.address(KIND, key)
    held = kept.find((KIND, entry.name))
    if held is not None:
        return held
    if stored := cache.fetch(entry):
        tensors, card = stored
        found = Calibration(Scorer.of(encoder, tensors), card["found"], card["rates"], card["lessons"])
    else:
        with model.progress.bar("learning which wordings ask the same", 2 * STEPS, "step") as bar:
            found = learn(lessons(), _prose(), used, vocabulary, bar.update, seed)
        card = {"found": found.found, "rates": dict(found.rates), "lessons": found.lessons, "encoder": used.name}
        cache.store(entry, found.scorer.tensors(), card)
    return kept.hold((KIND, entry.name), found, sum(t.nbytes for t in found.scorer.tensors().values()))


@once
def lessons() -> tuple[Lesson, ...]:
    """Return the lessons in the package: facts that no data set of it edits, and the half of zsRE to learn from."""
    rng = random.Random(0)
    datasets, questions = (importlib.import_module(name) for name in ("errata.datasets", "errata.lab.questions"))
    rows = [row for split in SPLITS for row in datasets.get(FACTS).rows(split)]
    relations = sorted({row["relation"] for row in rows})
    made = [_about_fact(row, relations, questions.templates, rng) for row in _spread(rows, rng)]
    known = {lesson.subject.casefold() for lesson in made}
    for edit in datasets.get("zsre").training():
        subject = edit.subject or edit.prompt
        if subject.casefold() not in known:  # a second question about a subject may be the first one in other words
            known.add(subject.casefold())
            # Its probes about the same subject often ask for the very same in other words, so they are no others.
            made.append(Lesson(subject, (edit.prompt, *edit.rephrases), (), "zsre"))
    return tuple(made)


def _spread(rows: list[Mapping[str, Any]], rng: random.Random) -> list[Mapping[str, Any]]:
    """One fact a subject, and no relation much more often than others."""
    rng.shuffle(rows)
    subjects: dict[str, Mapping[str, Any]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        if row["subject"] not in subjects and counts.get(row["relation"], 0) < 40:
            subjects[row["subject"]] = row
            counts[row["relation"]] = counts.get(row["relation"], 0) + 1
    return list(subjects.values())


def _about_fact(row: Mapping[str, Any], relations: list[str], templates: Any, rng: random.Random) -> Lesson:
    subject, relation = row["subject"], row["relation"]
    near = set().union({relation}, *(group for group in ALIKE if relation in group))
    others = rng.sample([one for one in relations if one not in near], OTHERS)
    asked = [rng.choice(_plain(templates, other)).replace("{}", subject) for other in others]
    wordings = tuple(template.replace("{}", subject) for template in _plain(templates, relation))
    return Lesson(subject, wordings, tuple(asked), relation)


def _plain(templates: Any, relation: str) -> list[str]:
    """The wordings that are there to learn from, without frames: half of what `templates` gives."""
    found = templates(relation, "seen")
    return found[: len(found) // 2]


@once
def _prose() -> tuple[str, ...]:
    sentences = [one.strip() for text in packaged_prose().texts for one in _SENTENCE.split(text) if one.strip()]
    return tuple(random.Random(0).sample(sentences, PROSE))


@once
def _digest() -> str:
    told = [[one.subject, one.relation, *one.wordings, *one.others] for one in lessons()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
