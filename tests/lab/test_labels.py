"""Label tasks: what has which label, what a guideline moves, and what the data sets make of it."""

from __future__ import annotations

import random
from collections import Counter
from typing import cast

import pytest

from errata.datasets import get
from errata.datasets.lab_facts import rows
from errata.errors import UnknownName
from errata.lab.claims import LABELS, sentence
from errata.lab.label_sets import Labels
from errata.lab.labels import CONTRADICTS, DOMAIN_OF, DOMAINS, FOLLOWS, NEUTRAL, TASKS, label_task, task_of

NAMES = ["lab-relation", "lab-domain", "lab-entailment"]
FACTS = rows()
SAMPLE = random.Random(0).sample(FACTS, 300)


def test_every_relation_has_one_domain():
    assert set(DOMAIN_OF) == {row["relation"] for row in FACTS}
    assert sum(map(len, DOMAINS.values())) == len(DOMAIN_OF) == 35


def test_a_task_is_found_by_its_name_and_by_its_labels():
    for name, task in TASKS.items():
        assert label_task(name) is task_of(task.labels) is task
    assert task_of(["REFUTES", "SUPPORTS"]).name == "claims"
    with pytest.raises(UnknownName, match=r"label task 'relations'\. Did you mean 'relation'"):
        label_task("relations")
    with pytest.raises(UnknownName, match="with the labels 'no, yes'"):
        task_of(["no", "yes"])


@pytest.mark.parametrize(("name", "label"), [("relation", lambda fact: fact["relation"]), ("domain", None)])
def test_a_true_sentence_has_its_relation_or_domain(name: str, label):
    for fact in SAMPLE:
        [case] = TASKS[name].cases(fact, random.Random(0))
        assert case.label == (label(fact) if label else DOMAIN_OF[fact["relation"]])
        said = [sentence(prompt, fact["target"]) for prompt in (fact["prompt"], *fact["rephrases_seen"])]
        assert list(case.texts("seen")) == said
        assert list(case.texts("held_out")) == [sentence(text, fact["target"]) for text in fact["rephrases_held_out"]]


def test_claims_are_supported_and_refuted_by_the_same_facts_as_ever():
    for fact in SAMPLE[:20]:
        refuted, supported = sorted(TASKS["claims"].cases(fact, random.Random(0)), key=lambda case: case.label)
        assert (refuted.label, supported.label) == LABELS
        assert supported.seen[0] == sentence(fact["prompt"], fact["target"]) != refuted.seen[0]


def parts(text: str, fact: dict) -> tuple[str, str]:
    """Premise and hypothesis of a pair whose second sentence is about `fact`."""
    prompts = [fact["prompt"], *fact["rephrases_seen"], *fact["rephrases_held_out"]]
    starts = [text.rindex(f". {prompt}") + 2 for prompt in prompts if f". {prompt}" in text]
    return text[: max(starts) - 1], text[max(starts) :]


def test_pairs_follow_contradict_or_have_nothing_to_do_with_one_another():
    drawn = Counter()
    for fact in SAMPLE:
        prompts = [fact["prompt"], *fact["rephrases_seen"], *fact["rephrases_held_out"]]
        objects = {row["target"] for row in FACTS if row["relation"] == fact["relation"]}
        pairs = {case.label: case for case in TASKS["entailment"].cases(fact, random.Random(1))}
        assert list(pairs) == [FOLLOWS, NEUTRAL, CONTRADICTS]
        for label, case in pairs.items():
            assert len(case.seen) == 1 + len(fact["rephrases_seen"])
            assert len(case.held_out) == len(fact["rephrases_held_out"])
            for text in case.texts("held_out"):
                assert any(prompt in text for prompt in fact["rephrases_held_out"])
            premise, hypothesis = parts(case.seen[0], fact)
            said = hypothesis.removeprefix(fact["prompt"]).strip().removesuffix(".")
            about = [prompt for prompt in prompts if premise.startswith(prompt)]
            if label == NEUTRAL:
                assert not about
                continue
            before = premise.removeprefix(max(about, key=len)).strip().removesuffix(".")
            assert (before == said) == (label == FOLLOWS)
            assert {before, said} & objects
            assert label == FOLLOWS or fact["target"] in (before, said)
            assert premise != hypothesis
            drawn[label, said == fact["target"]] += 1
    assert min(drawn.values()) > 100, "half of what is said is false"


@pytest.mark.parametrize("name", NAMES)
def test_a_guideline_moves_its_relations_and_leaves_the_rest(name: str):
    dataset = cast(Labels, get(name))
    edits, upstream = dataset.edits(), dataset.upstream()
    relations: dict[str, set[str]] = {}
    for row in rows("edit"):
        relations.setdefault(row["subject"], set()).add(row["relation"])
    assert len(edits) == dataset.records > 100
    assert len({edit.prompt for edit in edits}) == len(edits)
    for edit in edits:
        moved = [(relation, str(edit.ground_truth)) for relation in relations[str(edit.subject)]]
        assert edit.target in [dataset.task.guideline.get(case) for case in moved]
        assert edit.rephrases
        assert edit.prompt not in edit.rephrases
    assert len(upstream) == 1000
    assert {probe.answer for probe in upstream} <= set(dataset.task.labels)
    assert not {edit.subject for edit in edits} & {row["subject"] for row in rows("locality")}
    assert edits == dataset.edits()
    assert upstream == dataset.upstream()


def test_what_a_guideline_moves_is_not_among_what_stays():
    stays = {label for _, label in TASKS["relation"].guideline}
    assert not {probe.answer for probe in get("lab-relation").upstream()} & stays
    kept = {probe.prompt for probe in get("lab-entailment").upstream() if probe.answer == CONTRADICTS}
    moved = [row for row in rows("locality") if row["relation"] in ("P190", "P1303")]
    assert not any(text.split(". ")[-1].startswith(row["prompt"]) for row in moved for text in kept)
