"""A battery of downstream tasks, loaded once and given to a model again and again, as studies of forgetting do.

Tasks are made from labelled examples in files of their own, without the network, or are lm-evaluation-harness's by
name. Knows the harness; which edits a model has it never asks.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

import yaml

from errata.datasets import Example
from errata.editor import Editor
from errata.errors import BadConfig, UnknownName, did_you_mean
from errata.evaluate.downstream import choices
from errata.evaluate.downstream.grades import Graded, figures
from errata.evaluate.figures import Figure
from errata.models import EditableModel

TEMPLATES = Path(__file__).parent / "tasks"
OFFLINE = ("blimp", choices.LAB)  # tasks that come with the package and need no network
GRADES = ("acc", "exact_match")  # metrics of the harness that grade one question between 0 and 1


class Battery:
    """Tasks with their questions, ready to be asked.

    Attributes:
        names: the tasks, as they were asked for.
    """

    def __init__(self, tasks: Sequence[str] = OFFLINE, *, limit: int | None = None, seed: int = 0) -> None:
        """Load the questions.

        Args:
            tasks: "lab-choices", data sets of labelled examples ("blimp", "glue-sst2=PATH"), or tasks of
                lm-evaluation-harness, which downloads their data.
            limit: questions of each task, at most; drawn by the seed from examples, the first of a harness task.

        Raises: BadConfig (the extra is not installed; a task's data cannot be had), UnknownName, BadEdit.
        """
        manager = _harness().tasks.TaskManager
        self.names, self.limit = tuple(dict.fromkeys(tasks)), limit
        own = [name for name in self.names if choices.is_data(name)]
        others = [name for name in self.names if name not in own]
        with tempfile.TemporaryDirectory(prefix="errata-tasks-") as folder:
            for place, name in enumerate(own):
                write_task(f"errata-{place}", choices.examples(name, limit, seed), Path(folder))
            found = manager(include_path=folder, include_defaults=bool(others))
            _check_known(others, found.all_tasks)
            self._tasks = {name: _loaded(found, f"errata-{place}", name) for place, name in enumerate(own)}
        self._tasks |= {name: _loaded(found, name, name) for name in others}

    def grade(self, model: Editor | EditableModel, *, progress: bool = False) -> list[Graded]:
        """Ask every question, with the edits that are in force now. `progress` shows bars.

        Raises: BadModel (not causal), BadConfig (a task grades no single question).
        """
        from errata.evaluate.downstream.harness import Harness

        asked, evaluate = Harness(model, progress=progress), _harness().evaluator.evaluate
        rows: list[Graded] = []
        for name, tasks in self._tasks.items():
            with nullcontext() if progress else redirect_stderr(io.StringIO()):  # its bars cannot be turned off
                result = evaluate(lm=asked, task_dict=tasks, limit=self.limit, bootstrap_iters=0)
            for task, samples in result["samples"].items():
                rows += _graded(name, task, samples)
        return rows


def downstream(
    model: Editor | EditableModel, tasks: Sequence[str] = OFFLINE, *, limit: int | None = None, seed: int = 0
) -> dict[str, Figure]:
    """Accuracy of the model as it is now, by task; the arguments are those of `Battery`.

    For a comparison with the unedited model ask one battery twice and pair the answers (`paired`).
    """
    measured = figures(Battery(tasks, limit=limit, seed=seed).grade(model))
    return {name: figure for name, figure in measured.items() if name and figure is not None}


def paired(before: Sequence[Graded], now: Sequence[Graded]) -> list[Graded]:
    """The grades now, each beside the one before; both of the same battery."""
    earlier = {(row.task, row.item): row.grade for row in before}
    return [Graded(row.task, row.item, row.grade, earlier[row.task, row.item]) for row in now]


def write_task(name: str, examples: Sequence[Example], folder: Path) -> None:
    """Write a task that the harness loads without the network: NAME.yaml beside its questions, NAME.jsonl.

    Examples without a prompt make minimal pairs. What the harness derives from the files stays in the folder.
    """
    questions = folder / f"{name}.jsonl"
    rows = [{"prompt": one.prompt, "choices": one.choices, "gold": one.gold} for one in examples]
    questions.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    template = "choices" if any(one.prompt for one in examples) else "pairs"
    task = yaml.safe_load((TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8"))
    data = {"data_files": {"test": str(questions)}, "cache_dir": str(folder / "cache"), "keep_in_memory": True}
    content = yaml.safe_dump({"task": name, **task, "dataset_kwargs": data}, sort_keys=False)
    (folder / f"{name}.yaml").write_text(content, encoding="utf-8")


def _harness() -> Any:
    """The library, which takes long to load and is an extra."""
    try:
        import lm_eval.evaluator
        import lm_eval.tasks
    except ImportError:
        raise BadConfig(
            "downstream tasks need lm-evaluation-harness; install it with: pip install 'errata[harness]'"
        ) from None
    return lm_eval


def _check_known(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, [*OFFLINE, *known])
            raise UnknownName(
                f"no downstream task is called '{name}'.{hint} Use {', '.join(OFFLINE)}, a data set of labelled "
                "examples (`errata datasets`) or a task of lm-evaluation-harness"
            )


def _loaded(manager: Any, task: str, name: str) -> Any:
    try:
        with redirect_stderr(io.StringIO()):  # bars
            return manager.load([task])
    except Exception as error:  # the harness raises whatever its data sets' libraries raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadConfig(f"the task '{name}' cannot be loaded ({reason}); check the network and its data") from error


def _graded(name: str, task: str, samples: Sequence[dict[str, Any]]) -> list[Graded]:
    """The grades of a task, or of one part of a group of tasks; by the first of its filters."""
    metric = next((metric for metric in GRADES if metric in samples[0]["metrics"]), None)
    if metric is None:
        raise BadConfig(
            f"the task '{name}' grades no single question ({', '.join(GRADES)}); run it with the harness itself"
        )
    first = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    return [Graded(name, f"{task} {sample['doc_id']}", float(sample[metric])) for sample in first]
