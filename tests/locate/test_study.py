"""A study traces the facts that the model knows, and goes on where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from errata.errors import BadConfig, BadEdit
from errata.locate import study as module
from errata.locate.facts import Fact, sampled
from errata.locate.study import study
from errata.locate.traces import Settings
from errata.models import EditableModel
from tiny import tiny_model

KNOWN = [
    Fact(f"The capital of {country} is", country, city)
    for country, city in (("Angola", "Luanda"), ("Armenia", "Yerevan"), ("France", "Paris"))
]
WRONG = Fact("The capital of Botswana is", "Botswana", "Rome")
QUICK = Settings(samples=2)


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


def traced(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[Fact]:
    """The facts that are traced from now on; after `stop_after` of them comes an interrupt."""
    facts: list[Fact] = []
    real = module.trace

    def spy(model: EditableModel, fact: Fact, *rest: Any, **options: Any) -> Any:
        if len(facts) == stop_after:
            raise KeyboardInterrupt
        facts.append(fact)
        return real(model, fact, *rest, **options)

    monkeypatch.setattr(module, "trace", spy)
    return facts


def test_facts_that_the_model_does_not_know_are_left_out(lab: EditableModel) -> None:
    found = study(lab, [*KNOWN, WRONG], settings=QUICK)
    assert found.unknown == 1
    assert {trace.fact for trace in found.traces} == set(KNOWN)
    assert found.window == 2
    effects = found.effects()
    assert effects.n == 3
    assert effects.total.mean[0] > 0.2, "noise on the subject loses the answer"
    last = effects.indirect["state"]["last subject token"].mean
    assert last[0] > last[-1] + 0.2, "the subject is read before the top"
    card = found.to_json()
    assert (card["model"], card["n"], card["unknown"], card["window"]) == ("lab:gpt", 3, 1, 2)


def test_n_is_the_number_of_traced_facts(lab: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = traced(monkeypatch)
    found = study(lab, [*KNOWN, WRONG], n=2, settings=QUICK)
    assert len(found.traces) == 2
    assert facts == [fact for fact in sampled([*KNOWN, WRONG], 0) if fact != WRONG][:2]


def test_an_interrupted_study_goes_on(
    lab: EditableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "traces.jsonl"
    with monkeypatch.context() as patched:
        first = traced(patched, stop_after=2)
        with pytest.raises(KeyboardInterrupt):
            study(lab, KNOWN, settings=QUICK, record=record)
    rest = traced(monkeypatch)
    found = study(lab, KNOWN, settings=QUICK, record=record)
    assert len(first) == 2
    assert {*first, *rest} == set(KNOWN)
    assert len(rest) == 1
    fresh = study(lab, KNOWN, settings=QUICK)
    assert found.effects() == fresh.effects()


def test_a_record_is_of_one_study(lab: EditableModel, tmp_path: Path) -> None:
    record = tmp_path / "traces.jsonl"
    study(lab, KNOWN[:1], settings=QUICK, record=record)
    with pytest.raises(BadConfig, match=r"other work \(samples: 2, not 3\)"):
        study(lab, KNOWN[:1], settings=Settings(samples=3), record=record)


def test_nothing_to_trace(lab: EditableModel) -> None:
    with pytest.raises(BadEdit, match="lab:gpt knows none of the 1 facts"):
        study(lab, [WRONG], settings=QUICK)
    with pytest.raises(BadConfig, match="tiny-bert is a classifier"):
        study(tiny_model("bert"), KNOWN)
    with pytest.raises(BadConfig, match="'n' is 0"):
        study(lab, KNOWN, n=0)
