"""The data set of the lab: what later work may rely on."""

from __future__ import annotations

from collections import defaultdict

import pytest
from transformers import AutoTokenizer

from errata.datasets import get
from errata.lab.models import resolve
from errata.lab.recipes.corpus import Corpus, facts, phrasings, prose

SPLITS = {"editor-train", "calibrate", "edit", "locality"}
KEYS = {
    "subject", "relation", "prompt", "target", "rephrases_seen", "rephrases_held_out", "neighbours", "same_subject",
    "known", "split",
}  # fmt: skip


def test_rows_are_complete_and_unique():
    rows = facts()
    assert all(set(row) == KEYS for row in rows)
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert len({(row["subject"], row["relation"]) for row in rows}) == len(rows)
    assert sum(row["known"] for row in rows) >= 4000


def test_splits_are_disjoint_by_subject_and_large_enough():
    subjects, sizes = defaultdict(set), defaultdict(int)
    for row in facts():
        subjects[row["split"]].add(row["subject"])
        sizes[row["split"]] += 1
    assert set(subjects) == SPLITS
    assert sum(map(len, subjects.values())) == len(set().union(*subjects.values()))
    assert sizes["edit"] >= 2000


def test_a_relation_has_many_targets_and_a_prompt_one_relation():
    targets, relations = defaultdict(set), defaultdict(set)
    for row in facts():
        targets[row["relation"]].add(row["target"])
        for prompt in [*phrasings(row), *row["rephrases_held_out"]]:
            relations[prompt].add((row["relation"], row["target"]))
    assert len(targets) >= 20
    assert min(map(len, targets.values())) >= 5
    assert max(map(len, relations.values())) == 1, "a prompt must determine its answer"


def test_nothing_held_out_is_trained_on():
    seen = {prompt for row in facts() for prompt in phrasings(row)}
    held_out = [prompt for row in facts() for prompt in row["rephrases_held_out"]]
    assert len(held_out) >= len(facts())
    assert not seen & set(held_out)
    assert prose("held_out")[:2000] not in prose("train")


def test_neighbours_share_relation_and_target_and_no_subject():
    by_prompt = {row["prompt"]: row for row in facts()}
    for row in facts()[::7]:
        for prompt in row["neighbours"]:
            other = by_prompt[prompt]
            assert (other["relation"], other["target"]) == (row["relation"], row["target"])
            assert other["subject"] != row["subject"]
        assert all(by_prompt[prompt]["subject"] == row["subject"] for prompt in row["same_subject"])


def test_subjects_with_several_attributes_are_many():
    relations = defaultdict(set)
    for row in facts():
        relations[row["subject"]].add(row["relation"])
    assert sum(len(found) >= 3 for found in relations.values()) >= 300


def test_the_edits_are_of_facts_in_the_edit_split():
    rows = {row["prompt"]: row for row in facts()}
    edits = get("counterfact-lab").edits()
    assert len(edits) == get("counterfact-lab").records >= 1000
    for edit in edits:
        assert rows[edit.prompt]["split"] == "edit"
        assert rows[edit.prompt]["target"] == edit.ground_truth != edit.target
        assert not {probe.prompt for probe in edit.locality} & {edit.prompt}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(resolve("gpt"))


def test_targets_are_short(tokenizer):
    longest = max(len(tokenizer(" " + row["target"], add_special_tokens=False)["input_ids"]) for row in facts())
    assert longest <= 12


def test_the_corpus_draws_every_fact_once_an_epoch_and_ends_every_answer(tokenizer):
    corpus = Corpus(tokenizer, context=64, seed=3)
    rows = corpus.draw(len(facts()))
    assert not corpus.order
    assert all(row.ids[0] == tokenizer.bos_token_id and row.ids[-1] == tokenizer.eos_token_id for row in rows)
    assert len(corpus.draw_prose()) == 64
    again = Corpus(tokenizer, context=64, seed=3).draw(len(facts()))
    assert again == rows
