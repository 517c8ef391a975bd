"""Records from the Hugging Face hub, with a stand-in for the library that fetches them: nothing is downloaded."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from errata import datasets
from errata.datasets import Example, _hub
from errata.edits import Edit, Probe
from errata.errors import BadConfig, BadEdit, UnknownName

ROWS = [
    {
        "prompt": "The country of Leo is",
        "target_new": "Syria",
        "subject": "Leo",
        "ground_truth": None,
        "locality": {
            "Relation_Specificity": [{"prompt": "Leo is a", "ground_truth": [["actor"]]}],
            "Forgetfulness": None,
        },
        "portability": None,
    },
    {"prompt": "Ann is a", "target_new": "painter", "subject": None},
]

Call = tuple[str, str | None, str | None]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Which data sets were asked for: "a/b" has one split, "a/split" two, "a/gone" cannot be had."""
    asked: list[Call] = []

    def load_dataset(repo: str, config: str | None = None, split: str | None = None) -> Any:
        asked.append((repo, config, split))
        if repo == "a/gone":
            raise FileNotFoundError("Couldn't find\nany data")
        if repo == "a/empty":
            return []
        splits = {"train": ROWS} if repo == "a/b" else {"train": ROWS, "test": ROWS[1:]}
        return splits[split] if split else splits

    library = ModuleType("datasets")
    library.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)
    return asked


def test_rows_are_translated_like_a_file(calls: list[Call]):
    dataset = datasets.open("hf:a/b")
    assert (dataset.name, dataset.records, dataset.format, dataset.path) == ("hf:a/b", 2, "easyedit", None)
    assert dataset.edits() == [
        Edit(
            "The country of Leo is",
            "Syria",
            subject="Leo",
            locality=(Probe("Leo is a", "actor", "same_subject"),),
        ),
        Edit("Ann is a", "painter"),
    ]
    assert dataset.rows()[1] == {"prompt": "Ann is a", "target_new": "painter"}
    assert set(calls) == {("a/b", None, None)}


def test_configuration_and_split_are_passed_on(calls: list[Call]):
    assert datasets.open("hf:a/split/easy#test").edits() == [Edit("Ann is a", "painter")]
    assert set(calls) == {("a/split", "easy", "test")}


@pytest.mark.usefixtures("calls")
def test_of_several_splits_one_must_be_named():
    with pytest.raises(BadEdit, match="hf:a/split has the splits train, test; name one, as in hf:a/split#train"):
        datasets.open("hf:a/split")


@pytest.mark.usefixtures("calls")
def test_a_bad_record_is_named_by_its_number():
    with pytest.raises(BadEdit, match="hf:a/b: record 1: 'alt' is missing, not text"):
        datasets.open("hf:a/b", format="zsre").edits()
    with pytest.raises(UnknownName, match="unknown format"):
        datasets.open("hf:a/b", format="zsrr")


@pytest.mark.usefixtures("calls")
def test_what_cannot_be_had_is_one_line():
    with pytest.raises(BadEdit) as caught:
        datasets.open("hf:a/gone")
    assert str(caught.value) == (
        "hf:a/gone: cannot be loaded (FileNotFoundError: Couldn't find any data); check the name and the network"
    )
    with pytest.raises(BadEdit, match="hf:a/empty#train: there are no records"):
        datasets.open("hf:a/empty#train")


def test_a_task_is_read_from_the_hub(calls: list[Call], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ROWS[1], "sentence", "a fine film")
    monkeypatch.setitem(ROWS[1], "label", 1)
    [example] = datasets.open("glue-sst2=hf:a/split/sst2#test").examples()
    assert example == Example("Review: a fine film\nSentiment:", ("negative", "positive"), 1)
    assert calls == [("a/split", "sst2", "test")]


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadEdit, match=r"hf:a/b needs the library `datasets`; .* pip install 'errata\[hub\]'"):
        datasets.open("hf:a/b")


@pytest.mark.parametrize("name", ["hf:", "hf:a", "hf:a/b/c/d", "hf:a//b", "hf:a/b#"])
def test_a_malformed_name_is_refused_before_anything_is_loaded(name: str):
    with pytest.raises(BadConfig, match="is no hub name; write hf:owner/name"):
        datasets.open(name)


@pytest.mark.parametrize("name", ["a/b", "a/b/c", "a/b#test", "a/b/c#test"])
def test_a_name_is_written_as_it_was_read(name: str):
    assert _hub.parse(f"hf:{name}").name == name
