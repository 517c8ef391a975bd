"""Facts that a real model knows: as many as is said, and asked in wordings that nothing was learned from."""

from __future__ import annotations

import pytest

from errata.datasets import get
from errata.lab.known import facts
from errata.statistics.relations import ends_as_learned, sentences


@pytest.mark.parametrize(
    "name", ["known-facts", "known-facts-1000", "known-questions", "known-facts-tune", "known-questions-tune"]
)
def test_it_holds_as_many_edits_as_it_says(name: str) -> None:
    assert len(get(name).edits()) == get(name).records


@pytest.mark.parametrize("name", ["known-facts", "known-facts-tune"])
def test_no_paraphrase_ends_in_a_wording_that_was_learned(name: str) -> None:
    asked = [(edit, one) for edit in get(name).edits() for one in edit.rephrases]
    assert len(asked) > 100
    learned = {wording for texts in sentences().values() for wording in texts}
    for edit, one in asked:
        assert not any(one.endswith(wording.replace("{}", str(edit.subject))) for wording in learned), one


def test_scraps_before_a_wording_make_it_no_other() -> None:
    wording = next(one for one in sentences()["P17"] if one.startswith("{}"))
    assert ends_as_learned("Category:Rivers\n\nNorth Regiment. " + wording.replace("{}", "Ballydehob"), "Ballydehob")
    assert not ends_as_learned("Ballydehob sounds like", "Ballydehob")


def test_no_subject_is_in_both_halves() -> None:
    assert not {fact.subject for fact in facts("tune")} & {fact.subject for fact in facts("report")}
