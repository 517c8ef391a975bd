"""The JSON schema of a method's options, made from its Config. Knows dataclasses and types; no method."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from errata.methods._base import MethodConfig

TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null"}


def schema_of(config: type[MethodConfig]) -> dict[str, Any]:
    """Every field with its type, default and help text."""
    hints = get_type_hints(config)
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            field.name: {**_type(hints[field.name]), "default": field.default, "description": field.metadata["help"]}
            for field in dataclasses.fields(config)
        },
    }


def _type(hint: Any) -> dict[str, Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return {"anyOf": [_type(part) for part in get_args(hint)]}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    return {"type": TYPES[hint]}
