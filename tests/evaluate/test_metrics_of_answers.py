"""Metrics that grade answers, each against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from seen import answer, figures, forced, values

from errata.errors import UnknownName
from errata.evaluate.evidence import Answer, Evidence, Forced
from errata.evaluate.metrics._base import METRICS, better, meaning, measure, needs
from errata.evaluate.questions import KINDS, Question

close = pytest.approx
FOLLOWING = {"reliability": "reliability", "generalization": "generalization", "portability": "portability",
             "robustness": "robustness"}  # fmt: skip


def test_every_metric_has_a_meaning_a_direction_and_evidence_it_needs() -> None:
    known = {*KINDS, "texts", "continuations", "weights", "downstream"}
    for name in METRICS.names():
        assert meaning(name).endswith("."), name
        assert better(f"{name}.part") in ("higher", "lower")
        assert set(needs(name)) <= known
        assert needs(name), name


def test_without_evidence_every_figure_is_absent() -> None:
    assert measure(Evidence(edits=0)) == {}


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UnknownName, match=r"unknown metric 'localty'.*Did you mean 'locality'"):
        measure(Evidence(edits=0), ["localty"])


def test_a_figure_that_is_not_finite_is_absent() -> None:
    ruined = answer("reliability", "", forced=Forced(math.nan, 2, 0), rival=Forced(math.nan, 2, 0))
    assert "efficacy" not in values("magnitude", ruined)


@pytest.mark.parametrize(("metric", "kind"), FOLLOWING.items())
def test_what_must_follow_an_edit_is_graded_freely_and_forced(metric: str, kind: str) -> None:
    found = values(
        metric,
        answer(kind, "Paris", edit="e1", forced=Forced(0.1, 2, 2)),
        answer(kind, "Paris, France", edit="e2", forced=Forced(0.1, 2, 2)),  # does not stop
        answer(kind, "the PARIS.", edit="e3", forced=Forced(0.9, 2, 1)),  # SQuAD's normalisation
        answer(kind, "Rome", edit="e4", forced=Forced(9.0, 2, 0)),
    )
    assert found[""] == 2 / 4
    assert found["forced"] == 2 / 4
    assert found["tokens"] == (1 + 1 + 1 / 2 + 0) / 4


def test_an_edit_counts_once_however_many_questions_it_has() -> None:
    # e1: 3 of 3, e2: 0 of 1; the mean over edits is 1/2, over answers it would be 3/4
    right = [answer("generalization", "Paris", edit="e1", prompt=f"p{i}") for i in range(3)]
    figure = figures("generalization", *right, answer("generalization", "Rome", edit="e2"))[""]
    assert (figure.value, figure.n, figure.answers) == (1 / 2, 2, 4)


@pytest.mark.parametrize("metric", ["portability", "robustness"])
def test_sorts_of_questions_have_figures_of_their_own(metric: str) -> None:
    found = values(
        metric,
        answer(metric, "Paris", edit="e1", about="one_hop"),
        answer(metric, "Rome", edit="e2", about="one_hop"),
        answer(metric, "Paris", edit="e1", about="alias"),
        answer(metric, "Rome", edit="e3", about="tokens", forced=Forced(0.1, 4, 3)),  # hides no figure of the metric's
    )
    assert found == {"": close((1 + 0 + 0) / 3), "one_hop": 1 / 2, "alias": 1.0, "forced": 0.0, "tokens": 3 / 4}


def test_locality_is_agreement_with_the_answer_before_right_or_wrong() -> None:
    found = values(
        "locality",
        answer("locality", "Rome", "Paris", before="Rome", edit="e1", about="neighbour", kept=Forced(0.1, 2, 2)),
        answer("locality", "Paris", "Paris", before="Rome", edit="e2", about="far", kept=Forced(3.0, 4, 1)),
        answer("locality", "rome", None, before="Rome", edit="e3", about="unrelated"),
    )
    # agreement is of the very texts: e1 alone; tokens: (2/2 + 1/4) / 2
    texts = {"": close(1 / 3), "neighbour": 1.0, "far": 0.0, "unrelated": 0.0, "tokens": 0.625}
    clauses = {"answer": close(2 / 3), "neighbour-answer": 1.0, "far-answer": 0.0, "unrelated-answer": 1.0}
    assert found == texts | clauses


def test_gold_accuracy_reads_an_answer_key_and_stands_beside_the_model_before() -> None:
    found = values(
        "gold-accuracy",
        answer("locality", "Paris", "Paris", before="Rome", edit="e1", forced=Forced(0.1, 2, 2),
               forced_before=Forced(2.0, 2, 1)),
        answer("locality", "Rome", "Paris", before="Paris", edit="e2", forced=Forced(5.0, 2, 0),
               forced_before=Forced(0.1, 2, 2)),
        answer("locality", "Rome", "Paris", before="Rome", edit="e3", forced=Forced(5.0, 2, 0),
               forced_before=Forced(5.0, 2, 0)),
        answer("locality", "x", None, before="x", edit="e4"),  # has no key
    )  # fmt: skip
    # tokens: (2/2 + 0 + 0) / 3; before: (1/2 + 2/2 + 0) / 3
    assert found == close({"": 1 / 3, "forced": 1 / 3, "tokens": 1 / 3, "before": 1 / 3, "tokens-before": 1 / 2})


def test_retention_leaves_the_latest_batch_out() -> None:
    asked = [
        answer("reliability", "Paris", edit="e1"),
        answer("reliability", "Paris in France", edit="e2"),  # F1: 2 x 1 / (3 + 1)
        answer("reliability", "Paris", edit="e3"),
    ]
    assert values("retention", *asked, latest=frozenset({"e3"})) == {"": 1 / 2, "f1": (1 + 1 / 2) / 2}
    assert values("retention", *asked, latest=frozenset({"e1", "e2", "e3"})) == {}
    assert values("retention", *asked) == {}, "nobody said which batch is the latest"


def test_upstream_retention_is_against_the_key_or_the_answer_before() -> None:
    found = values(
        "upstream-retention",
        answer("upstream", "Paris", "Paris", before="Paris", edit=None, prompt="a"),
        answer("upstream", "Rome", "Paris", before="Paris", edit=None, prompt="b"),
        answer("upstream", "Rome", None, before="Rome", edit=None, prompt="c"),
        answer("upstream", "old Rome", None, before="Rome", edit=None, prompt="d"),  # F1: 2 x 1 / (2 + 1)
    )
    assert found == close({"": 2 / 4, "f1": (1 + 0 + 1 + 2 / 3) / 4, "before": 1.0})


def test_drawdown_is_accuracy_before_less_accuracy_now_question_by_question() -> None:
    lost = answer("upstream", "Rome", "Paris", before="Paris", edit=None, prompt="a")
    gained = answer("upstream", "Paris", "Paris", before="Rome", edit=None, prompt="b")
    kept = [answer("locality", "Paris", "Paris", before="Paris", edit=f"e{i}") for i in range(2)]
    keyless = answer("locality", "x", None, before="y", edit="e9")
    assert values("drawdown", lost, *kept, keyless) == {"": close(1 / 3)}  # (1 + 0 + 0) / 3
    assert values("drawdown", lost, gained, *kept) == {"": 0.0}  # 3/4 before, 3/4 now
    figure = figures("drawdown", *kept)[""]
    # Wilson for 0 of 2 reaches to z^2 / (2 + z^2) = 0.658, for what fell as for what rose.
    assert (figure.low, figure.high, figure.n) == (close(-0.658, abs=1e-3), close(0.658, abs=1e-3), 2)


def test_success_compares_mean_losses_and_joins_them_harmonically() -> None:
    found = values("success", *_rivals())
    # ES: 1 < 2 and 3 > 2: 1/2. PS: 1. NS: 1, and 2/2 nats a token beats 3/1 although the sums are 2 and 3.
    # S: 3 / (2 + 1 + 1)
    assert found == close({"efficacy": 1 / 2, "paraphrase": 1.0, "neighbourhood": 1.0, "": 3 / 4})


def test_success_has_no_mean_without_all_three() -> None:
    assert set(values("success", *_rivals()[:3])) == {"efficacy", "paraphrase"}


def test_success_takes_every_keyed_locality_question_where_none_is_a_neighbour() -> None:
    other = answer("locality", "", "Paris", about="unrelated", forced=forced(1), rival=forced(2))
    keyless = answer("locality", "", None, forced=forced(1), rival=forced(2))
    assert values("success", other, keyless) == {"neighbourhood": 1.0}
    neighbour = answer("locality", "", "Paris", about="neighbour", forced=forced(2), rival=forced(1))
    assert values("success", other, neighbour) == {"neighbourhood": 0.0}


def test_a_ruined_model_scores_about_half_on_comparisons_and_nought_on_answers() -> None:
    coin = [
        answer("reliability", "the the the", edit=f"e{i}", forced=forced(9 + (i % 2)), rival=forced(9.5))
        for i in range(10)
    ]
    assert values("success", *coin)["efficacy"] == 1 / 2
    assert values("reliability", *coin)[""] == 0


def test_magnitude_is_the_lead_in_probability_a_token() -> None:
    found = values("magnitude", *_rivals())
    e = math.exp
    assert found["efficacy"] == close(((e(-1) - e(-2)) + (e(-3) - e(-2))) / 2)
    assert found["neighbourhood"] == close(e(-1) - e(-3))
    assert "" not in found


def test_f1_is_of_words_of_prompts_and_of_rephrases() -> None:
    found = values(
        "f1",
        answer("reliability", "New York City", "New York", edit="e1"),  # 2 x 2 / (3 + 2)
        answer("reliability", "Rome", "New York", edit="e2"),
        answer("generalization", "york", "New York", edit="e1"),  # 2 x 1 / (1 + 2)
    )
    assert found == close({"": (4 / 5 + 0) / 2, "generalization": 2 / 3})


def test_accuracy_is_a_classifiers_alone() -> None:
    asked = [
        answer("reliability", "yes", "yes", before="no", edit="e1"),
        answer("generalization", "no", "yes", before="no", edit="e1"),
        answer("upstream", "no", "no", before="no", edit=None),
        answer("upstream", "no", None, before="no", edit=None, prompt="keyless"),
    ]
    # units: e1 with 1/2, the upstream question with 1; before: 0 and 1
    assert values("accuracy", *asked) == {
        "": 3 / 4, "before": 1 / 2, "reliability": 1.0, "generalization": 0.0, "upstream": 1.0,
    }  # fmt: skip
    writes = answer("reliability", "yes", "yes", forced=Forced(0.1, 1, 1))
    assert values("accuracy", writes) == {}


def test_harmonic_mean_of_three_shares() -> None:
    found = figures("harmonic", *_three("Paris", "Rome"))
    # reliability 1, generalization (1 + 0) / 2, locality 1: 3 / (1 + 2 + 1)
    assert found[""].value == close(3 / 4)
    assert found[""].low < 3 / 4 < found[""].high
    assert found[""].n == 2


def test_harmonic_mean_is_nought_if_one_share_is_and_absent_if_one_is() -> None:
    assert values("harmonic", *_three("Rome", "Rome")) == {"": 0.0}
    without = [a for a in _three("Paris", "Paris") if a.question.kind != "locality"]
    assert values("harmonic", *without) == {}


def _three(first: str, second: str) -> list[Answer]:
    return [
        answer(kind, said, before="x", edit=edit) if kind != "locality" else answer(kind, "x", before="x", edit=edit)
        for edit, rephrase in (("e1", first), ("e2", second))
        for kind, said in (("reliability", "Paris"), ("generalization", rephrase), ("locality", ""))
    ]


def _rivals() -> list[Answer]:
    return [
        answer("reliability", "", edit="e1", forced=forced(1), rival=forced(2)),
        answer("reliability", "", edit="e2", forced=forced(3), rival=forced(2)),
        answer("generalization", "", edit="e1", forced=forced(1), rival=forced(2)),
        answer("locality", "", edit="e1", about="neighbour", forced=Forced(2, 2, 0), rival=Forced(3, 1, 0)),
    ]


def test_answers_about_no_edit_count_one_by_one() -> None:
    question = Question("upstream", "p", "q")
    assert Answer(question, "q", "q", "q").unit == "p"


def test_perplexity_of_right_answers_is_over_all_their_tokens() -> None:
    found = values(
        "answer-perplexity",
        answer("reliability", "x", forced=Forced(2.0, 1, 0)),
        answer("reliability", "x", edit="e2", forced=Forced(1.0, 2, 0)),  # exp((2 + 1) / (1 + 2))
        answer("upstream", "x", edit=None, forced=Forced(4.0, 2, 0), forced_before=Forced(0.0, 2, 2)),
    )
    assert found == close({"": math.e, "upstream": math.exp(2), "upstream-before": 1.0})
