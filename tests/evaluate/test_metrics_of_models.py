"""Metrics of texts, continuations and weights, each against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from seen import figures, values

from errata.evaluate.evidence import Continuation, Moved, Text
from errata.evaluate.metrics.fluency import entropy

close = pytest.approx
LN2 = math.log(2)


def test_perplexity_is_of_all_tokens_and_its_mean_of_texts() -> None:
    # 3 ln 2 nats over 3 tokens and ln 2 over 1: 2 in all; before: 4 ln 2 + 0 over 4 tokens, also 2
    same = [Text(3 * LN2, 4 * LN2, 3, 0.0), Text(LN2, 0.0, 1, 0.0)]
    assert values("perplexity", texts=same) == close({"": 2, "mean": 2, "before": 2, "change": 0}, abs=1e-12)
    # 8 ln 2 over 4 tokens: 4; of texts: 2 and e^(5 ln 2) = 32; before 4 ln 2 over 4: 2; twice that now
    worse = [Text(3 * LN2, 3 * LN2, 3, 0.0), Text(5 * LN2, LN2, 1, 0.0)]
    assert values("perplexity", texts=worse) == close({"": 4, "mean": 17, "before": 2, "change": 1})


def test_perplexity_has_an_interval_over_texts() -> None:
    texts = [Text(nats * LN2, LN2, 1, 0.0) for nats in (1, 2, 3, 4, 5)]
    figure = figures("perplexity", texts=texts)[""]
    assert figure.low < 2**3 < figure.high
    assert figure.n == 5


def test_a_ruined_models_perplexity_is_huge_and_finite() -> None:
    assert values("perplexity", texts=[Text(1e6, 1.0, 10, 9.0)])[""] == close(math.exp(700))


def test_kl_is_a_token_not_a_text() -> None:
    # (0.5 x 1 + 0.1 x 9) / 10
    assert values("kl", texts=[Text(1, 1, 1, 0.5), Text(1, 1, 9, 0.1)]) == {"": close(0.14)}


def test_entropy_of_n_grams_in_bits() -> None:
    # a b a b a: pairs ab ba ab ba: 1 bit; triples aba bab aba: H(2/3, 1/3) = log2 3 - 2/3
    assert entropy("a b a b a") == close(100 * (1 / 3 * 1 + 2 / 3 * (math.log2(3) - 2 / 3)))
    assert entropy("no no no no") == 0, "the lowest there is: one pair, one triple"
    assert entropy("two words") == 0, "one pair, no triple"


def test_fluency_reads_prompt_and_continuation_as_one() -> None:
    text = Continuation("e1", "a b", said="c d", before="a b")
    # a b c d: 3 pairs, 2 triples; a b a b: pairs ab ba ab, triples aba bab
    pairs = math.log2(3) - 2 / 3
    found = values("fluency", continuations=[text])
    assert found == close({"": 100 * (math.log2(3) / 3 + 2 / 3), "before": 100 * (pairs / 3 + 2 / 3)})


def test_consistency_is_a_cosine_of_tf_idf_with_the_references() -> None:
    texts = [
        Continuation("e1", "p", said="red red", before="green", references=("red blue",)),
        Continuation("e2", "p", said="green", before="sky", references=("green",)),
        Continuation("e3", "p", said="green", before="green"),  # nothing to resemble
    ]
    # each word is in one of two documents, so all weigh the same: (2, 0) . (1, 1) / (2 sqrt 2), and 1
    found = values("consistency", continuations=texts)
    assert found == close({"": 100 * (1 / math.sqrt(2) + 1) / 2, "before": 0.0})


def test_consistency_weighs_rare_words_more() -> None:
    texts = [
        Continuation("e1", "p", said="city", before="paris", references=("paris city",)),
        Continuation("e2", "p", said="x", before="x", references=("city",)),
    ]
    # idf of paris: ln(3/2) + 1, of city: ln(3/3) + 1 = 1; e1's cosines: 1/|v| and idf/|v|
    rare = math.log(3 / 2) + 1
    norm = math.hypot(rare, 1)
    assert values("consistency", continuations=texts) == close({"": 50 / norm, "before": 50 * rare / norm})


def test_consistency_is_absent_without_references() -> None:
    assert values("consistency", continuations=[Continuation("e1", "p", "a", "b")]) == {}


def test_weight_distance_of_all_of_the_largest_and_an_element() -> None:
    moved = [Moved("a", 3.0, 6.0, 10), Moved("b", 4.0, 8.0, 30), Moved("c", 0.0, 0.0, 5)]
    # 5 / 10; 3/6 = 4/8; 5 / 40
    assert values("weight-distance", moved=moved) == close({"": 0.5, "largest": 0.5, "per-element": 0.125})


def test_weights_that_did_not_move_are_nought_and_weights_nobody_saw_absent() -> None:
    assert values("weight-distance", moved=[]) == {"": 0, "largest": 0, "per-element": 0}
    assert values("weight-distance", moved=None) == {}
