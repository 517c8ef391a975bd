"""`errata senses`: what each sense of a word says, in a Backpack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.models.backpack.words import Scores, Sense


@click.command()
@click.argument("model")
@click.argument("word")
@click.option("--top", type=click.IntRange(min=1), default=8, show_default=True, help="Words a sense is told by.")
@common.json_option
def command(model: str, word: str, top: int, as_json: bool) -> None:
    """The words that each sense of WORD makes likely (+) and unlikely (-) in MODEL, a Backpack.

    A word of several tokens has senses for each of them.
    """
    common.quiet()
    from errata.models import EditableModel
    from errata.models.backpack.words import senses_of

    found = senses_of(EditableModel.load(model), word, top)
    if as_json:
        common.print_json(_row(sense) for sense in found)
    else:
        click.echo("\n".join(_lines(found)))


def _row(sense: Sense) -> dict[str, Any]:
    return {
        "token": sense.token, "place": sense.place, "sense": sense.index, "norm": sense.norm,
        **{side: [{"token": token, "logit": value} for token, value in scores]
           for side, scores in (("top", sense.top), ("lowest", sense.lowest))},
    }  # fmt: skip


def _lines(senses: Iterable[Sense]) -> Iterable[str]:
    for sense in senses:
        if sense.index == 0:
            yield f"{sense.token.strip() or repr(sense.token)}"
        yield f"  sense {sense.index:>2}  + {_told(sense.top)}"
        yield f"            - {_told(sense.lowest)}"


def _told(scores: Scores) -> str:
    return ", ".join(f"{' '.join(token.split()) or repr(token)} {value:+.2f}" for token, value in scores)
