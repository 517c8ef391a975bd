"""A study as data: which model, tasks, methods with the options to choose from, balls and seeds. From YAML.

Knows names and numbers; loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from errata.errors import BadConfig, did_you_mean, unknown_name
from errata.evaluate.recipe import Contender, listed, of_kind, parameter
from errata.methods._base import METHODS

STUDY = "canonical"


@dataclass(frozen=True)
class Entrant:
    """A method and the sets of options of which validation picks one; under the label that its results carry."""

    contender: Contender
    sweep: tuple[Mapping[str, Any], ...] = ({},)

    @classmethod
    def of(cls, value: Any) -> Entrant:
        """From a name, or a mapping of `method`, fixed options, perhaps a `label` and perhaps a `sweep` of others."""
        sweep = value.get("sweep", [{}]) if isinstance(value, Mapping) else [{}]
        if not isinstance(sweep, list) or not sweep or not all(isinstance(one, Mapping) for one in sweep):
            raise BadConfig(f"a 'sweep' is a list of options such as [{{lr: 0.001}}, {{lr: 0.01}}], not {sweep!r}")
        rest = {name: item for name, item in value.items() if name != "sweep"} if isinstance(value, Mapping) else value
        return cls(Contender.of(rest), tuple(dict(one) for one in sweep))

    @property
    def label(self) -> str:
        return self.contender.label

    def options(self, config: int) -> dict[str, Any]:
        """The options of one of the sweep's sets."""
        return {**self.contender.options, **self.sweep[config]}

    def to_json(self) -> dict[str, Any]:
        return {**self.contender.to_json(), "sweep": [dict(one) for one in self.sweep]}


@dataclass(frozen=True)
class Plan:
    """Everything that determines a study's figures."""

    model: str = parameter("", "lab model, directory, .gguf file or hub id")
    tasks: tuple[str, ...] = parameter((), "sets of canonical examples, from the package or as NAME=PATH")
    methods: tuple[Entrant, ...] = parameter((), "by name, or with options, a label and a sweep")
    title: str = parameter("", "what the report is called")
    balls: tuple[float, ...] = parameter((1e-3, 1e-4, 1e-5), "how far loss on general text may rise, as shares")
    examples: int = parameter(20, "examples that a run learns from, drawn by its seed")
    seeds: tuple[int, ...] = parameter((0, 1, 2), "seeds of the reported runs; validation has the first")
    texts: int = parameter(20, "stretches of held-out prose to report the rise in loss on, beside the ball's own text")
    unbounded: Entrant | None = parameter(  # noqa: RUF009
        None, "an edit with no ball, which shows whether a behaviour moves at all"
    )

    def __post_init__(self) -> None:
        for name in ("model", "tasks", "methods", "balls", "seeds"):
            if not getattr(self, name):
                raise BadConfig(f"the recipe names no {name}; add '{name}'")
        labels = [entrant.label for entrant in self.methods]
        for name, values in (("methods", labels), ("tasks", self.tasks), ("seeds", self.seeds), ("balls", self.balls)):
            if len(set(values)) < len(values):
                raise BadConfig(f"'{name}' has one twice ({', '.join(map(str, values))}); name each once")
        if min(self.balls) <= 0 or self.examples < 1 or self.texts < 1:
            raise BadConfig("balls, examples and texts are positive numbers; check the recipe")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Plan:
        """From plain values. Raises: BadConfig for a name or a type that is wrong ("did you mean"), UnknownName."""
        if values.get("study") != STUDY:
            raise unknown_name("study", str(values.get("study")), [STUDY])
        known = [item.name for item in fields(cls)]
        given = {}
        for name, value in values.items():
            if name == "study":
                continue
            if name not in known:
                raise BadConfig(f"a study has no '{name}'.{did_you_mean(name, known)} It has: {', '.join(known)}")
            given[name] = READ[name](name, value)
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        values["methods"] = [entrant.to_json() for entrant in self.methods]
        values["unbounded"] = self.unbounded and self.unbounded.to_json()
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"study": STUDY, **{name: value for name, value in plain.items() if value is not None}}

    def check(self) -> None:
        """Refuse methods and options that are wrong, before anything is loaded. Raises: UnknownName, BadConfig."""
        for entrant in (*self.methods, *([self.unbounded] if self.unbounded else [])):
            method = METHODS.get(entrant.contender.method)
            known = [item.name for item in fields(method.Config)]
            if "ball" not in known:
                raise BadConfig(f"'{method.name}' knows no ball, which a study holds its methods in; leave it out")
            for config in range(len(entrant.sweep)):
                method.Config.of(entrant.options(config))


def _text(name: str, value: Any) -> str:
    return of_kind(name, value, (str,))


def _number(name: str, value: Any) -> int:
    return of_kind(name, value, (int,))


def _shares(name: str, value: Any) -> tuple[float, ...]:
    """YAML reads 1e-4, without a point, as text."""
    try:
        return tuple(float(item) for item in listed(name, value))
    except (TypeError, ValueError):
        raise BadConfig(f"'{name}' must be numbers, not {value!r}") from None


READ: Mapping[str, Any] = {
    "model": _text, "title": _text, "examples": _number, "texts": _number, "balls": _shares,
    "tasks": lambda name, value: tuple(_text(name, item) for item in listed(name, value)),
    "seeds": lambda name, value: tuple(_number(name, item) for item in listed(name, value)),
    "methods": lambda name, value: tuple(Entrant.of(item) for item in listed(name, value)),
    "unbounded": lambda name, value: Entrant.of(value),
}  # fmt: skip
