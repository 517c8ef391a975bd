"""`errata prepare`: compute ahead what a method needs to know of a model, so that the first edit need not wait."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common
from errata.cli.edit import check_options, split

if TYPE_CHECKING:
    from errata.methods._base import Method
    from errata.models import EditableModel
    from errata.statistics import Corpus, Need


@click.command(context_settings=common.METHODS_OWN)
@common.method_options("prepare")
@click.option("--corpus", metavar="SOURCE", help="A text file or a data set; by default the lab's own mix, or prose.")
@click.option("--layers", metavar="LAYERS", help="Blocks, as the method's own option takes them.")
@click.option("--tokens", metavar="N", help="How much of the text.")
@common.dry_run_option
@common.json_option
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    model: str,
    method: str,
    corpus: str | None,
    layers: str | None,
    tokens: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compute what METHOD needs to know of MODEL before it edits, and keep it in the cache.

    Every option of the method is a flag too; give `errata edit` the same ones, or it computes its own. What is cached
    is not computed again, and an interrupted command goes on when it is run again. $ERRATA_CACHE says where it is kept.
    """
    files, options = split(words)
    if files:
        raise click.UsageError(f"'{files[0]}' is not expected here; give text with --corpus")
    shared = {"corpus": corpus, "layers": layers, "tokens": tokens}
    options |= {name: value for name, value in shared.items() if value is not None}
    common.quiet()
    from errata.methods._base import create

    maker = create(method, {})
    if not maker.prepares():
        _nothing(f"{method} needs no preparation", as_json)
        return
    check_options(context.command, method, options)
    maker = create(method, options)
    from errata.models import EditableModel
    from errata.statistics import corpus_for

    editable = EditableModel.load(model)
    need = maker.needs(editable)
    if need is None:
        _nothing(f"{method} needs nothing of a {editable.task} model", as_json)
        return
    text = corpus_for(editable, corpus)
    before = _cached(editable, need, text)
    started = time.perf_counter()
    if not dry_run:
        maker.prepare(editable, text, progress=sys.stderr.isatty())
    rows = _rows(editable, need, text, before, dry_run)
    if as_json:
        common.print_json(rows)
    else:
        _print(rows, maker, text, time.perf_counter() - started)


def _cached(model: EditableModel, need: Need, corpus: Corpus) -> dict[int, bool]:
    from errata.statistics import is_cached

    return {layer: is_cached(model, layer, corpus, role=need.role, tokens=need.tokens) for layer in need.layers}


def _rows(
    model: EditableModel, need: Need, corpus: Corpus, before: dict[int, bool], dry_run: bool
) -> list[dict[str, Any]]:
    """What is needed of each block, whether it was there, and what to know of it."""
    from errata.statistics import second_moments

    found = {}
    if not dry_run:
        found = second_moments(model, need.layers, corpus, role=need.role, tokens=need.tokens)
    return [
        {
            "layer": layer,
            "role": need.role,
            "corpus": corpus.name,
            "tokens": found[layer].tokens if layer in found else need.tokens,
            "status": "cached" if before[layer] else "missing" if dry_run else "computed",
            "size": found[layer].size if layer in found else None,
            "rank": found[layer].rank if layer in found else None,
            "warning": found[layer].warning if layer in found else None,
        }
        for layer in need.layers
    ]


def _nothing(text: str, as_json: bool) -> None:
    if as_json:
        common.print_json([])
    else:
        click.echo(text)


def _print(rows: list[dict[str, Any]], method: Method, corpus: Corpus, seconds: float) -> None:
    from errata.statistics import cache_dir

    click.echo(f"{method.name} needs key statistics over {corpus.name}, kept in {cache_dir()}")
    for row in rows:
        rank = "" if row["rank"] is None else f"  rank {row['rank']} of {row['size']}"
        click.echo(f"block {row['layer']:>3}  {row['role']:<9} {row['tokens']:>9,} tokens  {row['status']:<8}{rank}")
        if row["warning"]:
            click.echo(f"  {row['warning']}")
    computed = sum(row["status"] == "computed" for row in rows)
    missing = sum(row["status"] == "missing" for row in rows)
    told = f"{missing} to compute; nothing was written" if missing else f"{computed} computed ({seconds:.1f} s)"
    click.echo(told if missing or computed else "nothing to compute")
