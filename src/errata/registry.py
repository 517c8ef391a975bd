"""The one registry: names of methods, data sets, … to the objects behind them, found without importing them.

Knows packages, file names and entry points. It does not know what is registered, and imports a module only
when somebody asks for the name of its file. Lower floors reach higher ones through here, by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, TypeVar, cast

from errata.errors import BadConfig, unknown_name

T = TypeVar("T")
Registered = TypeVar("Registered")

LAB_PREFIX = "lab:"


class Registry(Generic[T]):
    """Objects of one kind by name: built-ins from the files of a package, plug-ins from an entry-point group.

    A built-in's name is its file's stem with `_` written as `-`; files with a leading underscore are helpers.
    A plug-in's entry point carries the very name under which the object it loads is registered.

    Args:
        kind: the word for one entry in messages, such as "method".
        package: dotted name of the package that holds the built-ins.
        group: entry-point group in which installed plug-ins are announced.
    """

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._objects: dict[str, T] = {}

    def register(self, name: str, **meta: Any) -> Callable[[Registered], Registered]:
        """Decorator: store the object under `name` and set its `name` and `meta` attributes.

        A class or function defined again under its old module and name (a notebook cell run twice) replaces
        the old one.

        Raises:
            BadConfig: another object already has this name.
        """

        def store(registered: Registered) -> Registered:
            holder = self._objects.get(name)
            if holder is not None and not _same(holder, registered):
                raise BadConfig(
                    f"{self.kind} '{name}' is registered twice, by {_origin(holder)} and by "
                    f"{_origin(registered)}; rename or uninstall one of them"
                )
            marked = cast(Any, registered)
            marked.name = name
            marked.meta = meta
            self._objects[name] = cast(T, registered)
            return registered

        return store

    def get(self, name: str) -> T:
        """The object called `name`; imports no more than it takes to find it.

        Raises:
            UnknownName: nothing has this name.
            BadConfig: the plug-in of this name cannot be loaded, or does not register the name.
        """
        if name not in self._objects:
            self._find(name)
        if name not in self._objects:
            raise unknown_name(self.kind, name, self.names())
        return self._objects[name]

    def names(self) -> list[str]:
        """Every name, sorted, without importing any built-in or plug-in."""
        return sorted({*self._modules(), *self._plugins(), *self._objects})

    def _find(self, name: str) -> None:
        modules = self._modules()
        if name in modules:
            importlib.import_module(modules[name])
        elif (plugin := self._plugins().get(name)) is not None:
            self._load_plugin(plugin)
        else:  # a built-in file may register more names than its own
            for module in modules.values():
                importlib.import_module(module)

    def _load_plugin(self, plugin: EntryPoint) -> None:
        try:
            plugin.load()
        except Exception as error:  # foreign code: whatever it raises, the user needs to know whose it is
            raise BadConfig(
                f"plug-in {self.kind} '{plugin.name}' ({plugin.value}) does not load: {_one_line(error)}; "
                "fix or uninstall it"
            ) from error
        if plugin.name not in self._objects:
            raise BadConfig(
                f"plug-in {self.kind} '{plugin.name}' ({plugin.value}) registers no such name; "
                "make its entry point and its registered name agree"
            )

    def _modules(self) -> dict[str, str]:
        spec = importlib.util.find_spec(self.package)
        folders = spec.submodule_search_locations if spec else None
        return {
            module.name.replace("_", "-"): f"{self.package}.{module.name}"
            for module in pkgutil.iter_modules(folders or [])
            if not module.name.startswith("_")
        }

    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def resolve_model(name: str) -> Path | None:
    """Directory of a model that Errata carries, for names such as "lab:gpt"; None for any other name.

    Asks `errata.lab.models.resolve("gpt")`, imported only now because the lab lies above the models.

    Raises:
        UnknownName: the lab has no such model.
    """
    if not name.startswith(LAB_PREFIX):
        return None
    return importlib.import_module("errata.lab.models").resolve(name.removeprefix(LAB_PREFIX))


def resolve_lender() -> Callable[..., Any]:
    """`errata.editor.lending.lend`, by which a method takes over edits of another model's sheet.

    Imported only now because the editor lies above the methods.
    """
    return importlib.import_module("errata.editor.lending").lend


def _same(holder: object, newcomer: object) -> bool:
    if holder is newcomer:
        return True
    definitions = isinstance(holder, type | FunctionType) and isinstance(newcomer, type | FunctionType)
    return definitions and _origin(holder) == _origin(newcomer)


def _origin(registered: object) -> str:
    definition = registered if isinstance(registered, type | FunctionType) else type(registered)
    return f"{definition.__module__}.{definition.__qualname__}"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
