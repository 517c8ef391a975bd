"""A benchmark as data: which model, edits, methods and protocol, and what is measured. From YAML or built in Python.

A recipe is copied into its results, which it determines but for times. Knows names and numbers; loads nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from errata.errors import BadConfig, did_you_mean, unknown_name

PACKAGED = Path(__file__).parent / "recipes"
ProtocolName = Literal["single", "batch", "sequential"]


def parameter(default: Any, help: str) -> Any:
    """A field of a recipe with the one text that documents it everywhere."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Contender:
    """A method with its options, under the label that its results carry."""

    method: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any) -> Contender:
        """From a name, or a mapping of `method`, options of its Config and perhaps a `label`."""
        if isinstance(value, str):
            return cls(value, value)
        if not isinstance(value, Mapping) or not isinstance(value.get("method"), str):
            raise BadConfig(f"a method is a name, or a mapping with 'method' and its options, not {value!r}")
        options = {name: option for name, option in value.items() if name not in ("method", "label")}
        told = " ".join(f"{name}={option}" for name, option in options.items())
        label = str(value.get("label") or " ".join([value["method"], told]).strip())
        if "/" in label or label.startswith("."):
            raise BadConfig(f"the label {label!r} names a folder of results; leave out slashes and leading dots")
        return cls(value["method"], label, options)

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "label": self.label, **self.options}


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a benchmark's figures."""

    model: str = parameter("", "lab model, directory, .gguf file or hub id")
    dataset: str = parameter("", "data set or file of edits")
    methods: tuple[Contender, ...] = field(default=(), metadata={"help": "by name, or with options and a label"})
    title: str = parameter("", "what the report is called")
    protocol: ProtocolName = parameter(  # noqa: RUF009
        "sequential", "single or batch: each batch edits the model as it came; sequential: edits pile up"
    )
    size: int = parameter(1, "edits solved together")
    n: int | None = parameter(None, "how many edits, drawn by the seed; all by default")
    seed: int = parameter(0, "seed of drawing, order, shifts and sampling")
    checkpoints: tuple[int, ...] = parameter(
        (), "after how many edits of a sequence to measure; 1, 10, 100, … and the end by default"
    )
    sample: int = parameter(200, "edits asked about at a checkpoint before the last, where all are; 0: all at each")
    rephrasings: int = parameter(0, "rephrasings of every edit that enter the stream as edits too")
    errors_only: bool = parameter(False, "ask first, and edit only what is answered wrong")
    upstream: str | None = parameter(None, "data set or file of questions that no edit is about; the data set's own")
    upstream_n: int = parameter(300, "how many of them")
    texts: int = parameter(20, "stretches of general text for perplexity and KL; 0: none")
    continuations: int = parameter(0, "edits whose prompt is continued at length for fluency")
    downstream: tuple[str, ...] = parameter((), "tasks no edit is about: blimp, lab-choices, glue-sst2=PATH")
    downstream_n: int = parameter(100, "questions of each task")
    shifts: tuple[str, ...] = parameter((), "shifts of the prompts for robustness")
    monitor: int = parameter(0, "watch for collapse every so many batches; 0: never")
    max_new_tokens: int = parameter(24, "longest free answer, tokens")
    raw: bool = parameter(False, "continue prompts as plain text, also where the model has a chat template")
    metrics: tuple[str, ...] = parameter((), "metrics by name; all by default")

    def __post_init__(self) -> None:
        for name in ("model", "dataset"):
            if not getattr(self, name):
                raise BadConfig(f"the recipe names no {name}; add '{name}'")
        if not self.methods:
            raise BadConfig("the recipe names no method; add 'methods' (errata methods lists them)")
        labels = [contender.label for contender in self.methods]
        if len(set(labels)) < len(labels):
            raise BadConfig(f"two methods share a label ({', '.join(labels)}); give each its own 'label'")
        if self.protocol not in get_args(ProtocolName):
            raise unknown_name("protocol", self.protocol, get_args(ProtocolName))
        for name in ("size", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise BadConfig(f"'{name}' is {getattr(self, name)}; it must be 1 or more")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """From plain values. Raises: BadConfig for a name or a type that is wrong ("did you mean")."""
        known = {item.name: item for item in dataclasses.fields(cls)}
        given: dict[str, Any] = {}
        for name, value in values.items():
            key = str(name).replace("-", "_")
            if key not in known:
                raise BadConfig(f"a recipe has no '{name}'.{did_you_mean(key, known)} It has: {', '.join(known)}")
            given[key] = _typed(key, value, cls.__annotations__[key])
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["methods"] = [contender.to_json() for contender in self.methods]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def moments(self, total: int) -> list[int]:
        """After how many edits to measure, in a stream of `total`; the last is always its end."""
        wanted = self.checkpoints or tuple(10**power for power in range(9))
        return [*sorted({moment for moment in wanted if 0 < moment < total}), total]


def packaged() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.yaml"))


def read(name_or_path: str) -> dict[str, Any]:
    """The values of a packaged recipe, or of a YAML file. Raises: UnknownName, BadConfig."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        if name_or_path not in packaged():
            raise unknown_name("recipe", name_or_path, packaged())
        path = PACKAGED / f"{name_or_path}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: is no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, Mapping):
        raise BadConfig(f"{path}: a recipe is a mapping of names to values, such as `model: lab:gpt`")
    return dict(values)


def of_kind(name: str, value: Any, kinds: tuple[type, ...]) -> Any:
    """The `value` given for `name`, if it is of one of `kinds`; a bool is no int here. Raises: BadConfig."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
        raise BadConfig(f"'{name}' must be {wanted}, not {value!r}")
    return value


def listed(name: str, value: Any) -> Sequence[Any]:
    """The `value` given for `name`, if it is a list. Raises: BadConfig."""
    if not isinstance(value, list | tuple):
        raise BadConfig(f"'{name}' must be a list, not {value!r}")
    return value


def _typed(name: str, value: Any, hint: str) -> Any:
    """`value` as a field's type, named as it is annotated."""
    if name == "methods":
        return tuple(Contender.of(item) for item in listed(name, value))
    if hint.startswith("tuple"):
        kind: type = int if "int" in hint else str
        return tuple(of_kind(name, item, (kind,)) for item in listed(name, value))
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,), "int | None": (int, type(None)), "bool": (bool,), "str | None": (str, type(None)),
    }  # fmt: skip
    return of_kind(name, value, kinds.get(hint, (str,)))
