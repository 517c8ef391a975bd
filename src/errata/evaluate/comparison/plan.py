"""A comparison as data: named benchmarks, and the methods of all that name none of their own. From YAML.

Knows names and numbers; loads nothing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errata.errors import BadConfig, ErrataError, did_you_mean, unknown_name
from errata.evaluate.recipe import Recipe, listed, of_kind

STUDY = "comparison"
FIELDS = ("study", "title", "methods", "parts")
TAKEN = ("report",)  # a folder beside the parts


@dataclass(frozen=True)
class Part:
    """One benchmark; its results are in the folder of its name."""

    name: str
    recipe: Recipe

    @classmethod
    def of(cls, value: Any, common: Mapping[str, Any]) -> Part:
        """From a mapping of `name` and a recipe's fields; `common` are fields of parts that lack them."""
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise BadConfig(f"a part is a mapping with 'name' and the fields of a recipe, not {value!r}")
        name = value["name"]
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or name in TAKEN:
            raise BadConfig(
                f"a part cannot be called {name!r}, which names its folder; use letters, digits and -, and not "
                f"{' or '.join(map(repr, TAKEN))}"
            )
        try:
            return cls(name, Recipe.of({**common, **{key: item for key, item in value.items() if key != "name"}}))
        except ErrataError as error:
            raise within(name, error) from None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **self.recipe.to_json()}


@dataclass(frozen=True)
class Comparison:
    """Everything that determines a comparison's figures."""

    parts: tuple[Part, ...]
    title: str = ""

    def __post_init__(self) -> None:
        if not self.parts:
            raise BadConfig("the comparison has no parts; add 'parts', each with a 'name' and the fields of a recipe")
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise BadConfig(f"two parts share a name ({', '.join(names)}); give each its own")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Comparison:
        """From plain values. Raises: BadConfig for a name or a type that is wrong ("did you mean"), UnknownName."""
        if values.get("study") != STUDY:
            raise unknown_name("study", str(values.get("study")), [STUDY])
        for name in values:
            if name not in FIELDS:
                near = did_you_mean(name, FIELDS)
                raise BadConfig(f"a comparison has no '{name}'.{near} It has: {', '.join(FIELDS)}")
        common = {"methods": values["methods"]} if "methods" in values else {}
        parts = tuple(Part.of(value, common) for value in listed("parts", values.get("parts", ())))
        return cls(parts, of_kind("title", values.get("title", ""), (str,)))

    def to_json(self) -> dict[str, Any]:
        return {"study": STUDY, "title": self.title, "parts": [part.to_json() for part in self.parts]}

    def narrowed(
        self, methods: Sequence[str] = (), n: int | None = None, parts: Sequence[str] = ()
    ) -> Comparison:
        """With these methods alone, by name or label, at most `n` edits a part, and of these parts.

        A part that has none of the methods is left out. Raises: UnknownName (of a part, or of a method of none).
        """
        names = [part.name for part in self.parts]
        for name in parts:
            if name not in names:
                raise unknown_name("part", name, names)
        wanted = [part for part in self.parts if not parts or part.name in parts]
        known = {word for part in wanted for one in part.recipe.methods for word in (one.label, one.method)}
        for name in methods:
            if name not in known:
                raise unknown_name("method", name, known)
        narrow = [part for part in (_narrowed(part, methods, n) for part in wanted) if part]
        return dataclasses.replace(self, parts=tuple(narrow))


def within(part: str, error: ErrataError) -> ErrataError:
    """The same error, saying in which part it is."""
    return type(error)(f"part '{part}': {error}")


def _narrowed(part: Part, methods: Sequence[str], n: int | None) -> Part | None:
    recipe = part.recipe
    chosen = tuple(one for one in recipe.methods if not methods or one.label in methods or one.method in methods)
    if not chosen:
        return None
    edits = recipe.n if n is None else min(n, recipe.n or n)
    return Part(part.name, dataclasses.replace(recipe, methods=chosen, n=edits))
