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
from collections.abc import Mapping, Sequence
from functools import cache as once
from typing import TYPE_CHECKING, Any

from errata.scope.encoders import encoder_for
from errata.scope.learning import RATES, STEPS, Calibration, learn
from errata.scope.lessons import Lesson
from errata.scope.scorer import Form, Scorer
from errata.scope.vocabulary import Vocabulary
from errata.statistics import cache, kept
from errata.statistics.corpus import FACTS, packaged_prose
from errata.statistics.phrasings import SPLITS
from errata.statistics.relations import alike, questions, relations, sentences

if TYPE_CHECKING:
    from errata.models import EditableModel

KIND = "scope"
VERSION = 8
FORMS: tuple[Form, ...] = ("chat", "text")
OTHERS = 3  # questions about the same subject in a lesson
WORDINGS = 4  # of each form in a lesson for sentences
PROSE = 1000  # sentences of ordinary text
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def scope_for(model: EditableModel, encoder: str, form: Form = "chat", *, seed: int = 0) -> Calibration:
    """Return the calibrated scorer of a model under an encoder, computed or from the cache.

    Args:
        form: what is compared: "chat", messages of a conversation; "text", beginnings of sentences.

    Raises:
        BadConfig: the encoder is not installed.
    """
    used, vocabulary = encoder_for(encoder, model), Vocabulary.of(model)
    key = {
        "version": VERSION, "form": form, "encoder": used.name, "reads": [used.digest, vocabulary.digest],
        "seed": seed, "rates": RATES[form], "lessons": _digest(form),
    }  # fmt: skip
    entry = cache.address(KIND, key)
    held = kept.find((KIND, entry.name))
    if held is not None:
        return held
    if stored := cache.fetch(entry):
        tensors, card = stored
        found = Calibration(Scorer.of(encoder, tensors), card["found"], card["rates"], card["lessons"])
    else:
        asked = relations() if form == "text" else ()
        label = f"learning which {'wordings' if form == 'chat' else 'sentences'} ask the same"
        with model.progress.bar(label, (3 if asked else 2) * STEPS, "step") as bar:
            found = learn(lessons(form), _prose(), used, vocabulary, bar.update, seed, relations=asked)
        card = {"found": found.found, "rates": dict(found.rates), "lessons": found.lessons, "encoder": used.name}
        cache.store(entry, found.scorer.tensors(), card)
    return kept.hold((KIND, entry.name), found, sum(t.nbytes for t in found.scorer.tensors().values()))


@once
def lessons(form: Form = "chat") -> tuple[Lesson, ...]:
    """Return the lessons in the package: facts that no data set of it edits, and the half of zsRE to learn from."""
    rng = random.Random(0)
    datasets = importlib.import_module("errata.datasets")
    rows = [row for split in SPLITS for row in datasets.get(FACTS).rows(split)]
    asked = sorted({row["relation"] for row in rows})
    about = _about_fact if form == "chat" else _sentences_about_fact
    made = [about(row, asked, rng) for row in _spread(rows, rng)]
    known = {lesson.subject.casefold() for lesson in made}
    for edit in datasets.get("zsre").training():
        subject = edit.subject or edit.prompt
        if subject.casefold() not in known:  # a second question about a subject may be the first one in other words
            known.add(subject.casefold())
            # Its probes about the same subject often ask for the very same in other words, so they are no others.
            all = (edit.prompt, *edit.rephrases)
            made.append(
                Lesson(subject, all, (), "zsre") if form == "chat" else Lesson(subject, all[:1], (), "zsre", all)
            )
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


def _about_fact(row: Mapping[str, Any], asked: Sequence[str], rng: random.Random) -> Lesson:
    subject, relation = row["subject"], row["relation"]
    templates = importlib.import_module("errata.lab.questions").seen
    others = rng.sample([one for one in asked if one not in alike(relation)], OTHERS)
    strange = [rng.choice(templates(other)).replace("{}", subject) for other in others]
    return Lesson(
        subject, tuple(one.replace("{}", subject) for one in templates(relation)), tuple(strange), relation
    )  # fmt: skip


def _sentences_about_fact(row: Mapping[str, Any], asked: Sequence[str], rng: random.Random) -> Lesson:
    subject, relation = row["subject"], row["relation"]
    others = rng.sample([one for one in asked if one not in alike(relation) and one in sentences()], OTHERS)
    strange = [rng.choice(texts[other]) for texts in (sentences(), questions()) for other in others]
    own, too = (_some(texts.get(relation, ()), rng) for texts in (sentences(), questions()))
    filled = [tuple(one.replace("{}", subject) for one in part) for part in (own or too[:1], strange, too)]
    return Lesson(subject, filled[0], filled[1], relation, filled[2])


def _some(wordings: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(wordings, min(WORDINGS, len(wordings)))


@once
def _prose() -> tuple[str, ...]:
    sentences = [one.strip() for text in packaged_prose().texts for one in _SENTENCE.split(text) if one.strip()]
    return tuple(random.Random(0).sample(sentences, PROSE))


@once
def _digest(form: Form) -> str:
    told = [[one.subject, one.relation, *one.wordings, *one.others, *one.questions] for one in lessons(form)]
    asked = [one.wordings for one in relations()] if form == "text" else []
    return hashlib.sha256(json.dumps([told, asked]).encode()).hexdigest()
