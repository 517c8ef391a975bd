"""Running a comparison: each part by the ordinary runner, into a directory of its own.

What is finished is not run again. A part that cannot be run is noted and the others go on. Knows no method.
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from errata.errors import ErrataError
from errata.evaluate import runner
from errata.evaluate.comparison.folder import Folder
from errata.evaluate.comparison.plan import Comparison, within


def conduct(
    plan: Comparison, out: str | Path, *, resume: bool = False, progress: bool = False, jobs: int = 1
) -> Folder:
    """Run every part, or what is missing of it, into the directory `out`; `jobs` methods of a part at a time.

    Raises: UnknownName, BadConfig before any work. What a part raises later is kept (`Folder.problems`).
    """
    check(plan)
    folder = Folder.start(out, plan, resume=resume)
    with tqdm(total=len(folder.plan.parts), unit="part", disable=not progress) as bar:
        for part in folder.plan.parts:
            bar.set_description(part.name)
            problem = None
            try:
                runner.run(part.recipe, folder.path / part.name, resume=True, progress=progress, jobs=jobs)
            except ErrataError as error:
                problem = str(error)
            folder.note_problem(part, problem)
            bar.update()
    return folder


def check(plan: Comparison) -> None:
    """Refuse methods, options and metrics that are wrong before anything is loaded. Raises: UnknownName, BadConfig."""
    for part in plan.parts:
        try:
            runner.check(part.recipe)
        except ErrataError as error:
            raise within(part.name, error) from None
