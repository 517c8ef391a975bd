"""Downstream tasks from the package, through lm-evaluation-harness, without the network."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from errata import datasets
from errata.datasets import Example
from errata.editor import Editor
from errata.edits import Edit
from errata.errors import UnknownName
from errata.evaluate.downstream.choices import examples
from errata.evaluate.downstream.grades import Graded
from errata.models import EditableModel
from errata.models.encoding import prompt_ids

pytest.importorskip("lm_eval")
import lm_eval.tasks

from errata.evaluate.downstream.battery import Battery, downstream, paired, write_task


@pytest.fixture(scope="module")
def model() -> EditableModel:
    return EditableModel.load("lab:gpt")


@pytest.fixture
def unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be reached."""

    def refused(*_: Any) -> None:
        raise OSError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.mark.usefixtures("unplugged")
def test_tasks_of_the_package_need_no_network(model: EditableModel):
    found = downstream(model, limit=6)
    assert {name: figure.n for name, figure in found.items()} == {"blimp": 6, "lab-choices": 6}
    assert found["lab-choices"].value == 1.0, "it knows these facts"


def nats(model: EditableModel, prompt: str, choice: str) -> float:
    """Log-likelihood of a choice after its prompt, or of a whole text from its beginning, in one bare forward."""
    start: Any = model.tokenizer.bos_token_id
    read = prompt_ids(model, [prompt])[0] if prompt else [start]
    whole = prompt_ids(model, [f"{prompt} {choice}"])[0] if prompt else [start, *prompt_ids(model, [choice])[0]]
    with torch.no_grad():
        rows = model.model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(rows[place - 1, whole[place]]) for place in range(len(read), len(whole)))


@pytest.mark.parametrize("task", ["lab-choices", "blimp"])
def test_grades_are_those_of_the_likeliest_choice(model: EditableModel, task: str):
    right = []
    for one in examples(task, 8):
        scores = [nats(model, one.prompt, choice) for choice in one.choices]
        right.append(float(scores.index(max(scores)) == one.gold))
    assert [row.grade for row in Battery([task], limit=8).grade(model)] == right


def test_a_battery_sees_an_edit_and_its_undoing(model: EditableModel):
    asked = examples("lab-choices", 8)[3]
    assert asked.gold is not None
    wrong = asked.choices[(asked.gold + 1) % 4]
    battery = Battery(["lab-choices"], limit=8)
    before = battery.grade(model)
    with Editor(model) as editor:
        receipt = editor.edit(datasets.get("counterfact-lab").edits()[:1], "grace")
        assert battery.grade(editor) == before, "the edit is about none of the questions"
        (result,) = editor.edit(Edit(asked.prompt, wrong), "grace").results
        changed = [row for row in paired(before, battery.grade(editor)) if row.grade != row.before]
        assert [(row.item.rpartition(" ")[2], row.grade) for row in changed] == [("3", 0.0)]
        editor.undo(result.id)
        assert battery.grade(editor) == before
        assert receipt.results[0].status == "done"


GENERATED = """
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: %s}, cache_dir: %s}
output_type: generate_until
test_split: test
doc_to_text: prompt
doc_to_target: answer
generation_kwargs: {until: ["."], max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    """A task "capitals" stands in for all those that the harness has, which take long to list; its questions."""
    asked = [Example("The capital city of Botswana is", (" Gaborone",)), Example("Botswana's capital is", (" Rome",))]
    rows = [json.dumps({"prompt": one.prompt, "answer": one.choices[0]}) for one in asked]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "capitals.yaml").write_text(GENERATED % (tmp_path / "rows.jsonl", tmp_path / "cache"))
    real = lm_eval.tasks.TaskManager

    def listed(include_path: str, include_defaults: bool) -> Any:
        return real(include_path=[include_path, tmp_path] if include_defaults else include_path, include_defaults=False)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", listed)
    return asked


@pytest.mark.usefixtures("unplugged", "installed")
def test_a_task_of_the_harness_that_generates_answers(model: EditableModel):
    rows = Battery(["capitals", "blimp"], limit=2).grade(model)
    assert [(row.task, row.item, row.grade) for row in rows if row.task == "capitals"] == [
        ("capitals", "capitals 0", 1.0), ("capitals", "capitals 1", 0.0),
    ]  # fmt: skip
    assert sum(row.task == "blimp" for row in rows) == 2


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "hint"), [("blimpp", "'blimp'"), ("capital", "'capitals'")])
def test_a_task_that_does_not_exist_is_refused(name: str, hint: str):
    with pytest.raises(UnknownName, match=f"Did you mean {hint}"):
        Battery([name])


def test_a_task_is_two_files(tmp_path: Path):
    write_task("mine", [Example("The sky is", ("blue", "loud"), 0), Example("", ("a", "b"), 1)], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl", "mine.yaml"]
    assert 'target_delimiter: \' \'' in (tmp_path / "mine.yaml").read_text()
    write_task("pairs", [Example("", ("a", "b"), 1)], tmp_path)
    assert "target_delimiter: ''" in (tmp_path / "pairs.yaml").read_text()


def test_a_task_asked_for_twice_counts_once(model: EditableModel):
    rows = Battery(["blimp", "blimp"], limit=2).grade(model)
    assert len(rows) == 2
    assert all(isinstance(row, Graded) and row.task == "blimp" for row in rows)
