"""What every editing method is: a frozen `Config` and `fit`, which turns edits into a patch.

A method is one file in this package: it registers itself under its name, and the command line, the benchmark, the
documentation and the contract tests find it there. This module knows configs and results, and no particular method.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from errata.edits import Edit, Goal
from errata.errors import BadConfig, BadEdit, did_you_mean
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.registry import Registry
from errata.statistics import Corpus, Need, second_moments

METHODS: Registry[type[Method]] = Registry("method", "errata.methods", "errata.methods")
TASKS = ("causal", "seq2seq", "classification")
M = TypeVar("M", bound="type[Method]")


def register_method(
    name: str,
    *,
    paper: str,
    patch: str,
    needs_training: bool = False,
    tasks: Sequence[str] = TASKS,
    goals: Sequence[Goal] = (),
    chat: bool = False,
) -> Callable[[M], M]:
    """Register a method under `name`.

    `patch` is the kind of patch it leaves, `paper` an identifier such as arXiv:…, `tasks` the kinds of models it edits,
    `goals` those of the canonical examples that it takes besides answers, `chat` whether it edits conversations alone.
    """
    return METHODS.register(
        name, paper=paper, patch=patch, needs_training=needs_training, tasks=tuple(tasks), goals=tuple(goals), chat=chat
    )


def option(default: Any, help: str) -> Any:
    """A Config field with the one text that documents it everywhere."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class MethodConfig:
    """Base of all method configs. Every field has a default and a help text (`option`)."""

    seed: int = option(0, "seed of everything random in the method")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> typing.Self:
        """Build from names and values, which may be text (from a command line) or typed (from JSON or Python).

        Raises: BadConfig for an unknown name ("did you mean"), or a value that is not of the field's type.
        """
        hints = get_type_hints(cls)
        known = [item.name for item in dataclasses.fields(cls)]
        typed = {}
        for name, value in values.items():
            key = name.replace("-", "_")
            if key not in hints:
                names = ", ".join(known)
                raise BadConfig(f"unknown option '{name}'.{did_you_mean(key, known)} Options are: {names}")
            typed[key] = coerce(value, hints[key], name)
        return cls(**typed)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def coerce(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type a hint names: bool, int, float, str, None, Literal or a union of these, tried in order."""
    origin = get_origin(hint)
    options = get_args(hint) if origin in (Union, types.UnionType) else (hint,)
    for kind in options:
        found, result = _as_type(value, kind)
        if found:
            return result
    wanted = " or ".join(_spelled(kind) for kind in options)
    raise BadConfig(f"option '{name}' must be {wanted}, not {value!r}")


def _spelled(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"'{choice}'" for choice in get_args(kind))
    words: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(kind) or str(kind.__name__)


def _as_type(value: Any, kind: Any) -> tuple[bool, Any]:
    """Whether `value` can be read as `kind`, and what it then is."""
    if get_origin(kind) is Literal:
        return value in get_args(kind), value
    if kind is bool:
        words = {"true": True, "false": False, "yes": True, "no": False}
        return (
            (True, value)
            if isinstance(value, bool)
            else (str(value).lower() in words, words.get(str(value).lower()))
        )
    if kind in (int, float) and not isinstance(value, bool):
        if kind is int and isinstance(value, float) and not value.is_integer():
            return False, None
        try:
            return True, kind(value)
        except (TypeError, ValueError):
            return False, None
    return isinstance(value, kind), value


@dataclass(frozen=True)
class Fit:
    """What `fit` hands back: the patch, and for every edit id what was measured while fitting it.

    A figure named "problem" says why the method itself gave up on an edit; the Editor reports that edit as failed.
    `kept` is whatever `refit` can use again.
    """

    patch: Patch | None
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kept: Any = None


class Method(ABC):
    """How edits become a patch. Stateless but for its config."""

    name: ClassVar[str]
    meta: ClassVar[Mapping[str, Any]]
    Config: ClassVar[type[MethodConfig]] = MethodConfig

    def __init__(self, config: MethodConfig | None = None) -> None:
        self.config: Any = config or self.Config()

    def check(self, edits: Sequence[Edit]) -> None:
        """Refuse edits that are not for this method. Raises: BadEdit."""
        for goal, prompt in ((edit.goal, edit.prompt) for edit in edits if edit.goal is not None):
            if goal not in self.meta["goals"]:
                able = ", ".join(name for name in METHODS.names() if goal in METHODS.get(name).meta["goals"])
                raise BadEdit(f"'{self.name}' can't {goal} what follows {prompt!r}; use a method that can: {able}")

    @abstractmethod
    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        """Make a patch for `edits` (each with an id) on `model`, which has every earlier patch attached.

        `previous` is this method's own patch in the stack if `extends` said so; the returned patch then replaces it.
        On return every parameter and buffer is bit-identical and no hook remains, whatever happened in between.
        """

    def refit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None, earlier: Fit) -> Fit:
        """`fit` for some of the edits of an `earlier` one, on the same model: the others turned out to fail."""
        return self.fit(model, edits, previous)

    def verify(self, model: EditableModel, edits: Sequence[Edit]) -> list[bool]:
        """Return which of `edits`, all answers, hold on `model` with the patch in force.

        By default every token of the target and the end after it must be the model's first choice.
        """
        batch = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
        return model.greedy_match(batch).tolist()

    def settled(self, model: EditableModel) -> Any:
        """The config with which this model would be edited: what "auto" stands for, as far as sizes alone tell."""
        return self.config

    def needs(self, model: EditableModel) -> Need | None:
        """The statistics of `model` that `fit` will ask for; None if it asks for none of this model."""
        return None

    def prepare(self, model: EditableModel, corpus: Corpus, progress: bool = False) -> None:
        """Compute what `fit` would otherwise compute on first use, and keep it in the cache. Interrupted, it goes on.

        Raises: BadConfig.
        """
        if need := self.needs(model):
            second_moments(model, need.layers, corpus, role=need.role, tokens=need.tokens, progress=progress)

    @classmethod
    def prepares(cls) -> bool:
        """Whether there is anything to prepare; `needs` says what."""
        return cls.needs is not Method.needs

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        """Whether a new patch would take `previous` in (a codebook), rather than be stacked on top of it."""
        return False


def create(name: str, values: Mapping[str, Any] | None = None) -> Method:
    """A method by name with its options.

    Raises: UnknownName, BadConfig.
    """
    method = METHODS.get(name)
    return method(method.Config.of(values or {}))
