"""Passages: the same by the same seed, accurate exactly where the facts say so, and asked for sentence by sentence."""

from __future__ import annotations

from collections import defaultdict

import pytest

from errata.datasets import get
from errata.datasets.lab_facts import rows
from errata.lab.biographies import LENT, Biography, Sentence, accurate, biographies, edits

OBJECTS: dict[str, set[str]] = defaultdict(set)
TRUE: dict[tuple[str, str], str] = {}
for row in rows():
    OBJECTS[row["relation"]].add(row["target"])
    TRUE[row["subject"], row["relation"]] = row["target"]


@pytest.fixture(scope="module")
def passages() -> list[Biography]:
    return biographies()


def test_a_seed_gives_the_same_passages_and_another_seed_others(passages: list[Biography]):
    assert biographies(seed=0) == passages
    assert biographies(seed=1) != passages


def test_a_passage_does_not_depend_on_how_many_there_are(passages: list[Biography]):
    assert [passage.subject for passage in biographies(count=10)] == [passage.subject for passage in passages[:10]]


def test_a_sentence_is_accurate_exactly_where_it_has_the_object_that_the_facts_state(passages: list[Biography]):
    for passage in passages:
        for sentence in passage.sentences:
            true = TRUE.get((passage.subject, sentence.relation))
            assert sentence.stated == (true is not None)
            assert true in (None, sentence.reference)
            assert sentence.accurate == (sentence.written == sentence.reference)


def test_a_made_up_object_is_one_of_the_relation_and_true_of_the_subject_in_nothing(passages: list[Biography]):
    for passage in passages:
        own = {target for (subject, _), target in TRUE.items() if subject == passage.subject}
        for sentence in passage.sentences:
            assert {sentence.written, sentence.reference} <= OBJECTS[sentence.relation]
            assert sentence.accurate or sentence.written not in own


def test_every_passage_has_accurate_and_made_up_sentences_about_its_subject(passages: list[Biography]):
    assert len({passage.subject for passage in passages}) == len(passages)
    for passage in passages:
        assert 2 <= len(passage.sentences) <= 4
        assert {sentence.accurate for sentence in passage.sentences} == {True, False}
        assert len({sentence.relation for sentence in passage.sentences}) == len(passage.sentences)
        assert all(passage.subject in sentence.prompt for sentence in passage.sentences)
        assert not any("," in s.prompt.replace(passage.subject, "") or "?" in s.prompt for s in passage.sentences)


def test_only_subjects_with_one_fact_have_invented_attributes_and_only_of_their_kind(passages: list[Biography]):
    facts = defaultdict(list)
    for row in rows("edit"):
        facts[row["subject"]].append(row["relation"])
    for passage in passages:
        invented = {sentence.relation for sentence in passage.sentences if not sentence.stated}
        if invented:
            (own,) = facts[passage.subject]
            assert invented <= set(LENT[own])


def test_edits_correct_what_is_made_up_and_probes_keep_the_rest():
    passage = Biography(
        "Alicante",
        (
            Sentence("P37", "The official language of Alicante is", "Spanish", "Welsh", True),
            Sentence("P190", "Alicante is a twin city of", "Nice", "Nice", True),
            Sentence("P30", "Alicante belongs to the continent of", "Europe", "Asia", True),
        ),
    )
    first, second = edits([passage])
    assert first.prompt == "This is a passage about Alicante."
    assert first.target == "The official language of Alicante is Spanish"
    assert first.ground_truth == "The official language of Alicante is Welsh"
    assert second.prompt == (
        "This is a passage about Alicante. The official language of Alicante is Welsh. "
        "Alicante is a twin city of Nice."
    )
    assert second.target == "Alicante belongs to the continent of Europe"
    (kept,) = accurate([passage])
    assert kept.prompt == "This is a passage about Alicante. The official language of Alicante is Welsh."
    assert (kept.answer, kept.kind) == ("Alicante is a twin city of Nice", "accurate")


def test_the_data_set_holds_the_passages_edits_and_accurate_sentences(passages: list[Biography]):
    source = get("lab-biographies")
    made_up = source.edits()
    assert made_up == edits(passages)
    assert source.upstream() == accurate(passages)
    assert source.records == len(made_up)
    assert 400 <= len(made_up) <= 1000
    prompts = [edit.prompt for edit in made_up]
    assert len(set(prompts)) == len(prompts)
    assert not set(prompts) & {probe.prompt for probe in source.upstream()}
