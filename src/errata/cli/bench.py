"""`errata bench`: methods against data under a protocol, into a directory of results. Interrupted, --resume goes on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common
from errata.cli import _comparison, _study
from errata.errors import unknown_name

if TYPE_CHECKING:
    from errata.evaluate.results import Results

HEADLINE = (
    "reliability", "generalization", "locality", "retention", "upstream-retention", "drawdown", "perplexity.change",
)  # fmt: skip
PROBLEMS = 1


@click.command()
@click.option("--recipe", help="A packaged recipe, or a YAML file; the options below change what it says.")
@click.option("--model", help=f"{common.MODEL_HELP}.")
@click.option("--dataset", help="A data set (`errata datasets`), or a file of edits.")
@click.option("--methods", help="Methods by name, with options after colons: grace,grace:radius=4,ft")
@click.option("--protocol", help="single, batch or sequential (the default).")
@click.option("--n", type=click.IntRange(min=1), help="How many edits, drawn by the seed.")
@click.option("--size", type=click.IntRange(min=1), help="Edits solved together.")
@click.option("--checkpoints", help="After how many edits of a sequence to measure: 1,10,100")
@click.option("--seed", type=int, help="Seed of drawing and order.")
@click.option("--metrics", help="Metrics by name; all by default.")
@click.option("--parts", help="Parts of a comparison by name; all by default.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Methods run at a time.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of results.")
@click.option("--resume", is_flag=True, help="Go on with the results that are there.")
@common.dry_run_option
@common.json_option
@click.pass_context
def command(
    context: click.Context, recipe: str | None, out: Path, resume: bool, jobs: int, dry_run: bool, as_json: bool,
    **given: Any,
) -> None:
    """Measure methods on a model and data, before, while and after they edit.

    Writes every answer and figure under OUT (`errata report OUT` draws them). A recipe with a `study` is one of
    canonical examples, and takes of the options below --model, --dataset (its tasks) and --n (examples a run); or a
    comparison, which takes --parts, --methods (those alone, by name or label), --n (at most so many edits a part) and
    --jobs.
    """
    common.quiet()
    from errata.evaluate.recipe import read

    values = read(recipe) if recipe else {}
    bench = _studied if "study" in values else _benched
    problems = bench(values, given, out, jobs=jobs, resume=resume, dry_run=dry_run, as_json=as_json)
    for name, problem in problems.items():
        click.echo(f"errata: {name}: {problem}", err=True)
    if problems:
        context.exit(PROBLEMS)


def _benched(
    values: Mapping[str, Any], given: dict[str, Any], out: Path, *,
    jobs: int, resume: bool, dry_run: bool, as_json: bool,
) -> Mapping[str, str]:  # fmt: skip
    """Run one benchmark; why methods could not be run, by label."""
    from errata.evaluate.recipe import Recipe
    from errata.evaluate.runner import check, run
    from errata.evaluate.setting import foreseen

    if given.pop("parts"):
        raise click.UsageError("--parts says something to a comparison alone; leave it out")
    chosen = Recipe.of({**values, **{name: value for name, value in _typed(given).items() if value is not None}})
    check(chosen)
    if dry_run:
        common.print_plan(foreseen(chosen), as_json)
        return {}
    results = run(chosen, out, resume=resume, progress=sys.stderr.isatty(), jobs=jobs)
    _print(results, as_json)
    return results.problems()


def _studied(
    values: Mapping[str, Any], given: dict[str, Any], out: Path, *, jobs: int, **how: bool
) -> Mapping[str, str]:
    """Run the study that a recipe's values describe; why parts of it could not be run."""
    from errata.evaluate.canonical.plan import STUDY as CANONICAL
    from errata.evaluate.comparison.plan import STUDY as COMPARISON

    if values["study"] == COMPARISON:
        return _comparison.bench(values, given, out, jobs=jobs, **how)
    if values["study"] != CANONICAL:
        raise unknown_name("study", str(values["study"]), [CANONICAL, COMPARISON])
    if jobs > 1:
        raise click.UsageError("a study of canonical examples runs one method at a time; leave --jobs out")
    _study.bench(values, given, out, **how)
    return {}


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    """Options as a recipe's values."""
    lists = {name: [item.strip() for item in given[name].split(",")] for name in ("methods", "metrics") if given[name]}
    if "methods" in lists:
        lists["methods"] = [_contender(text) for text in lists["methods"]]
    if given["checkpoints"]:
        try:
            lists["checkpoints"] = [int(item) for item in given["checkpoints"].split(",")]
        except ValueError:
            raise click.UsageError(f"--checkpoints are numbers with commas, not '{given['checkpoints']}'") from None
    return given | lists


def _contender(text: str) -> dict[str, Any]:
    """`grace:radius=4` as a method with an option."""
    method, *options = text.split(":")
    pairs = [option.partition("=") for option in options]
    for name, equals, _ in pairs:
        if not equals:
            raise click.UsageError(f"write an option of a method as name=value, as in {method}:{name or 'radius'}=4")
    return {"method": method, "label": text.replace(":", " ")} | {name: value for name, _, value in pairs}


def _print(results: Results, as_json: bool) -> None:
    """The figures at the end of every method's stream."""
    rows = []
    for contender in results.recipe.methods:
        if measured := results.run(contender).figures():
            rows.append({"method": contender.label, **measured[-1]})
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['method']} after {row['edits']} edits")
        for name in HEADLINE:
            if figure := row["figures"].get(name):
                told = f"{figure['value']:.3f}  [{figure['low']:.3f}, {figure['high']:.3f}]  n={figure['n']}"
                click.echo(f"  {name:20} {told}")
    click.echo(f"every answer and figure is in {results.path}; `errata report {results.path}` draws them")
