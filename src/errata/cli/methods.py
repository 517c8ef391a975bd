"""`errata methods`: the ways of editing, and the options of each, read from their Config."""

from __future__ import annotations

import dataclasses
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.methods._base import Method, MethodConfig


@click.command()
@click.argument("name", required=False)
@click.option("--model", help="Show what the method's options would be for this model (its weights are not loaded).")
@common.json_option
def command(name: str | None, model: str | None, as_json: bool) -> None:
    """List the methods, or the options of one."""
    common.quiet()
    from errata.methods._base import METHODS

    if model and not name:
        raise click.UsageError("name the method too: errata methods memit --model MODEL")
    rows = [_row(METHODS.get(known)) for known in ([name] if name else METHODS.names())]
    if model:
        rows[0] |= {"model": model, "options": _settled(METHODS.get(str(name)), model, rows[0]["options"])}
    if as_json:
        common.print_json(rows)
    elif name:
        _print_one(rows[0])
    else:
        for row in rows:
            training = " (needs training)" if row["needs_training"] else ""
            click.echo(f"{row['name']:<10} {row['patch']:<9} {row['paper']:<17} {row['summary']}{training}")


def _row(method: type[Method]) -> dict[str, Any]:
    summary = (method.__doc__ or "").strip().split("\n")[0]
    return {"name": method.name, **method.meta, "summary": summary, "options": options(method.Config)}


def options(config: type[MethodConfig]) -> list[dict[str, Any]]:
    """Name, type, default and help of every field of a Config."""
    hints = get_type_hints(config)
    return [
        {
            "name": item.name,
            "type": spelled(hints[item.name]),
            "default": item.default,
            "help": item.metadata["help"],
        }
        for item in dataclasses.fields(config)
    ]


def _settled(method: type[Method], name: str, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The options with the values that this model would be edited with."""
    from errata.models import EditableModel

    config = method().settled(EditableModel.outline(common.model_name(name)))
    return [{**option, "default": getattr(config, option["name"])} for option in listed]


def spelled(hint: Any) -> str:
    """A type as a user writes its values: auto|int|float."""
    if get_origin(hint) in (Union, types.UnionType):
        return "|".join(spelled(part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return "|".join(str(choice) for choice in get_args(hint))
    return "none" if hint is types.NoneType else str(hint.__name__)


def _print_one(row: dict[str, Any]) -> None:
    training = ", needs training first" if row["needs_training"] else ""
    click.echo(f"{row['name']}: {row['summary']} ({row['paper']}; patch: {row['patch']}{training})")
    flags = [f"--{option['name'].replace('_', '-')} {option['type']}" for option in row["options"]]
    width = max(map(len, flags))
    kind = f"for {row['model']}" if "model" in row else "default"
    for flag, option in zip(flags, row["options"], strict=True):
        click.echo(f"  {flag:<{width}}  {option['help']} ({kind}: {option['default']})")
