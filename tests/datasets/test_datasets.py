"""The data sets: all of them carry what they claim, and any file of edits is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from errata import datasets
from errata.datasets import Dataset, _base, lab_facts
from errata.edit_files import write_edits
from errata.edits import Edit, Probe
from errata.errors import BadConfig, BadEdit, UnknownName

BENCHMARKS = ["counterfact", "wiki-counterfact", "wiki-recent", "wikibio", "zsre"]
MEBIBYTE = 1 << 20
FACTS = [
    {"subject": "Botswana", "target": "Gaborone", "known": True, "split": "edit"},
    {"subject": "Benin", "target": "Porto-Novo", "known": False, "split": "locality"},
]


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab's file of facts, replaced by one of two rows."""
    path = tmp_path / "lab-facts.jsonl"
    path.write_text("\n".join(json.dumps(fact) for fact in FACTS))
    monkeypatch.setattr(lab_facts, "FILE", path)
    return path


def test_names_lists_every_file():
    assert set(BENCHMARKS) | {"lab-facts"} <= set(datasets.names())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_holds_the_records_it_claims(name: str, caplog: pytest.LogCaptureFixture):
    dataset = datasets.get(name)
    edits, rows = dataset.edits(), dataset.rows()
    assert dataset.name == name
    assert dataset.licence == "MIT"
    assert dataset.records == len(edits) == len(rows)
    assert not caplog.records, "nothing may be left out of a file in the package"
    assert all(edit.locality for edit in edits if name not in ("wiki-recent", "wiki-counterfact"))
    for edit, row in zip(edits, rows, strict=True):  # row i belongs to edit i
        assert json.dumps(edit.target)[1:-1] in json.dumps(row)


def test_the_first_case_of_counterfact():
    edit = datasets.get("counterfact").edits()[0]
    assert edit.prompt == "The mother tongue of Danielle Darrieux is"
    assert (edit.subject, edit.target, edit.ground_truth) == ("Danielle Darrieux", "English", "French")
    assert len(edit.rephrases) == 2
    assert edit.locality[0] == Probe("The mother tongue of Léon Blum is", "French", "neighbour")
    assert edit.id == "0"


def test_the_first_question_of_zsre():
    edit = datasets.get("zsre").edits()[0]
    assert edit == Edit(
        prompt="Which family does Epaspidoceras belong to?",
        target="Noctuidae",
        subject="Epaspidoceras",
        ground_truth="Aspidoceratidae",
        rephrases=("What family are Epaspidoceras?",),
        locality=(
            Probe("The taxon rank of Epaspidoceras is", "genus", "same_subject"),
            Probe("Epaspidoceras taxon rank", "genus", "same_subject"),
        ),
        portability=(
            Probe("What is the common name for the family Epaspidoceras belongs to?", "Owlet moths", "one_hop"),
        ),
    )


def test_the_data_stay_small_and_every_file_has_a_source():
    files = sorted(_base.DATA.glob("*.gz"))
    sources = (_base.DATA / "SOURCES.md").read_text()
    assert sum(file.stat().st_size for file in files) < 2.5 * MEBIBYTE
    assert {file.name for file in files} <= set(re.findall(r"`([\w-]+\.jsonl?\.gz)`", sources))


def test_every_file_is_a_data_set_with_the_licence_and_records_of_its_source():
    rows = [line.split(" | ") for line in (_base.DATA / "SOURCES.md").read_text().splitlines() if ".gz` |" in line]
    stated = {row[0].strip("| `"): (row[1], row[3]) for row in rows}
    found = [datasets.get(name) for name in datasets.names()]
    here = [dataset for dataset in found if dataset.path == _base.DATA / f"{dataset.name}.json.gz"]
    here += [dataset for dataset in found if dataset.path == _base.DATA / f"{dataset.name}.jsonl.gz"]
    assert {dataset.path.name for dataset in here if dataset.path} == {file.name for file in _base.DATA.glob("*.gz")}
    for dataset in here:
        assert dataset.path
        assert stated[dataset.path.name] == (f"{dataset.records:,}", dataset.licence)


def test_what_states_no_licence_is_not_in_the_package():
    for dataset in map(datasets.get, datasets.names()):
        assert (dataset.path is None) == (dataset.licence == "none stated")


def test_counterfact_lab_says_what_its_probes_look_at():
    edits = datasets.get("counterfact-lab").edits()
    assert {(probe.kind, probe.answer == edit.ground_truth) for edit in edits for probe in edit.locality} == {
        ("neighbour", True)
    }


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown data set 'counterfacts'\. Did you mean 'counterfact'"):
        datasets.get("counterfacts")
    with pytest.raises(UnknownName, match="Did you mean 'wiki-recent'"):
        datasets.open("wiki_recent")


def test_open_takes_a_name():
    assert datasets.open("zsre") == datasets.get("zsre")


def test_a_name_knows_its_own_format():
    with pytest.raises(BadConfig, match="has its own format"):
        datasets.open("zsre", format="easyedit")
    with pytest.raises(BadConfig, match="data set 'zsre' has its own format"):
        datasets.open("zsre=mine.json", format="easyedit")


@pytest.mark.parametrize("as_type", [str, Path])
def test_open_takes_a_path(tmp_path: Path, as_type: type):
    path = tmp_path / "mine.jsonl"
    write_edits(path, [Edit("Ann is a", "painter"), Edit("Bob is a", "baker")])
    dataset = datasets.open(as_type(path))
    assert (dataset.name, dataset.records, dataset.format) == ("mine.jsonl", 2, "errata")
    assert dataset.edits() == [Edit("Ann is a", "painter"), Edit("Bob is a", "baker")]


def test_a_name_wins_over_a_file_unless_written_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_edits(tmp_path / "zsre", [Edit("Ann is a", "painter")])
    assert datasets.open("zsre").records == 1286
    assert datasets.open("./zsre").records == 1


def test_open_recognises_a_published_file(tmp_path: Path):
    path = tmp_path / "any.json"
    path.write_text(json.dumps([{"prompt": "Ann is a", "target_new": "painter"}]))
    assert datasets.open(path).format == "easyedit"
    assert datasets.open(path).edits() == [Edit("Ann is a", "painter")]


def test_a_data_set_is_read_from_the_users_copy(tmp_path: Path):
    path = tmp_path / "whole.json"
    path.write_text(json.dumps([{"prompt": "Ann is a", "target_new": "painter"}]))
    dataset = datasets.open(f"wiki-recent={path}")
    assert (dataset.name, dataset.path, dataset.records) == ("wiki-recent", path, 570)
    assert dataset.edits() == datasets.get("wiki-recent").at(path).edits() == [Edit("Ann is a", "painter")]


def test_an_equals_sign_in_a_path_is_a_path(tmp_path: Path):
    path = tmp_path / "zsre=1.jsonl"
    write_edits(path, [Edit("Ann is a", "painter")])
    assert datasets.open(path).edits() == [Edit("Ann is a", "painter")]


@pytest.mark.parametrize("text", ["missing.jsonl", "./missing", "some/folder"])
def test_a_missing_path_is_not_taken_for_a_name(text: str):
    with pytest.raises(BadEdit, match=r"cannot be read \(No such file"):
        datasets.open(text)


def test_a_data_set_that_may_not_ship_asks_for_a_path():
    dataset = Dataset("elsewhere", "examples", "unknown", "github.com/someone/examples", 3, None)
    with pytest.raises(BadEdit, match=r"not in the package .* get it from github\.com/someone/examples and write"):
        dataset.edits()


@pytest.mark.usefixtures("facts")
def test_lab_facts_are_rows_by_split():
    dataset = datasets.get("lab-facts")
    assert dataset.records == 2
    assert dataset.rows() == lab_facts.rows() == FACTS
    assert lab_facts.rows("locality") == [FACTS[1]]
    with pytest.raises(UnknownName, match=r"unknown split 'edits'\. Did you mean 'edit'"):
        lab_facts.rows("edits")


@pytest.mark.usefixtures("facts")
def test_lab_facts_invent_no_edits():
    with pytest.raises(BadEdit, match="holds facts and no edits"):
        datasets.get("lab-facts").edits()


def test_what_a_set_without_training_edits_says_is_who_has_some():
    with pytest.raises(BadEdit, match=r"'counterfact' has no edits to learn .*lab-questions.* zsre.* have some"):
        datasets.get("counterfact").training()
    with pytest.raises(BadEdit, match=r"'fever' has no edits to learn .*a file of your own may"):
        datasets.get("fever").training()


def test_a_file_of_ones_own_is_learned_from_whole(tmp_path: Path):
    path = tmp_path / "mine.jsonl"
    write_edits(path, [Edit("Ann is a", "painter"), Edit("Bob is a", "baker")])
    assert datasets.open(path).training() == datasets.open(path).edits()


def test_zsre_is_learned_from_by_half_and_the_other_half_is_a_data_set():
    whole, rest = datasets.get("zsre"), datasets.get("zsre-held-out")
    learned, edits = whole.training(), rest.edits()
    assert len(edits) == rest.records == len(rest.rows())
    assert [row["prompt"] for row in rest.rows()] == [edit.prompt for edit in edits]
    assert 600 < len(learned) < 700 > len(edits) > 600
    names = [{str(edit.subject).strip().casefold() for edit in part} for part in (learned, edits)]
    assert not names[0] & names[1]
    assert set(map(repr, [*learned, *edits])) <= set(map(repr, whole.edits()))
    for edit in learned:
        assert edit.rephrases
        assert edit.locality
        assert edit.target != edit.ground_truth
        assert all(probe.answer for probe in edit.locality)
    assert learned == whole.training() == rest.training()


def test_a_record_of_zsre_without_a_subject_has_its_place_too(tmp_path: Path):
    path = tmp_path / "mine.json"
    flat = {"target_new": "b", "rephrase_prompt": "What?", "locality": {"x": [{"prompt": "Who?", "ground_truth": "c"}]}}
    records = [{"prompt": f"What is {n}?", **flat} for n in range(40)]
    path.write_text(json.dumps(records))
    learned = {edit.prompt for edit in datasets.get("zsre").at(path).training()}
    rest = {edit.prompt for edit in datasets.get("zsre-held-out").at(path).edits()}
    assert not learned & rest
    assert learned | rest == {record["prompt"] for record in records}
    assert min(len(learned), len(rest)) > 8
