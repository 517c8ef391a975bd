"""The names of things: near misses, lazy look-up, plug-ins and clashes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from errata import errors, registry
from errata.errors import BadConfig, ErrataError, UnknownName, did_you_mean
from errata.registry import Registry, resolve_model


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry over a package of three files: a helper and two built-ins, one with a second name."""
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from errata.registry import Registry\nBOOKS = Registry('book', 'shelf', 'shelf.books')\n"
    )
    (package / "_helper.py").write_text("raise RuntimeError('a helper is no entry')\n")
    (package / "old_atlas.py").write_text(
        "from shelf import BOOKS\n"
        "@BOOKS.register('old-atlas', paper='arXiv:1')\n"
        "class Atlas: pass\n"
        "@BOOKS.register('pocket-atlas')\n"
        "class Pocket: pass\n"
    )
    (package / "novel.py").write_text(
        "from shelf import BOOKS\n@BOOKS.register('novel')\nclass Novel: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("shelf").BOOKS
    for module in [name for name in sys.modules if name.split(".")[0] == "shelf"]:
        del sys.modules[module]


def announce(monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    """Install a plug-in: a module with this source, behind an entry point of this name."""
    module = ModuleType("plugged")
    monkeypatch.setitem(sys.modules, "plugged", module)
    exec(source, vars(module))
    point = EntryPoint(name=name, value="plugged:entry", group="shelf.books")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "shelf.books" else [])


def test_every_error_is_an_errata_error_with_exit_code_2():
    family = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert len(family) == 9
    for error in family:
        assert issubclass(error, ErrataError)
        assert error.exit_code == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [("grcae", " Did you mean 'grace'?"), ("GRACE", " Did you mean 'grace'?"), ("xyz", ""), ("", "")],
)
def test_did_you_mean(name: str, expected: str):
    assert did_you_mean(name, ["memit", "grace"]) == expected


def test_names_come_from_file_stems_and_import_nothing(shelf: Registry):
    assert shelf.names() == ["novel", "old-atlas"]
    assert not {"shelf.novel", "shelf.old_atlas"} & sys.modules.keys()


def test_get_imports_only_the_module_of_that_name(shelf: Registry):
    atlas = shelf.get("old-atlas")
    assert (atlas.name, atlas.meta) == ("old-atlas", {"paper": "arXiv:1"})
    assert "shelf.novel" not in sys.modules


def test_get_finds_a_second_name_within_a_built_in_file(shelf: Registry):
    assert shelf.get("pocket-atlas").__name__ == "Pocket"
    assert shelf.names() == ["novel", "old-atlas", "pocket-atlas"]


def test_unknown_name_suggests_and_lists(shelf: Registry):
    with pytest.raises(UnknownName) as caught:
        shelf.get("novle")
    text = "unknown book 'novle'. Did you mean 'novel'? Known: novel, old-atlas, pocket-atlas"
    assert str(caught.value) == text


def test_a_plug_in_is_listed_and_loaded_by_its_name(shelf: Registry, monkeypatch: pytest.MonkeyPatch):
    announce(monkeypatch, "zine", "from shelf import BOOKS\n@BOOKS.register('zine')\nclass entry: pass")
    assert shelf.names() == ["novel", "old-atlas", "zine"]
    assert shelf.get("zine").name == "zine"
    assert "shelf.novel" not in sys.modules


def test_a_plug_in_that_fails_is_named_and_hurts_nobody_else(
    shelf: Registry, monkeypatch: pytest.MonkeyPatch
):
    announce(monkeypatch, "zine", "")
    assert shelf.get("novel").name == "novel"
    with pytest.raises(
        BadConfig, match=r"plug-in book 'zine' \(plugged:entry\) does not load: AttributeError"
    ):
        shelf.get("zine")


def test_a_plug_in_that_registers_another_name_is_refused(shelf: Registry, monkeypatch: pytest.MonkeyPatch):
    announce(monkeypatch, "zine", "class entry: pass")
    with pytest.raises(BadConfig, match="registers no such name"):
        shelf.get("zine")


def test_two_objects_cannot_share_a_name(shelf: Registry):
    shelf.get("novel")
    with pytest.raises(BadConfig, match=r"book 'novel' is registered twice, by shelf\.novel\.Novel and by"):

        @shelf.register("novel")
        class Other:
            pass


def test_two_instances_of_a_class_cannot_share_a_name(shelf: Registry):
    class Book:
        pass

    shelf.register("one")(Book())
    with pytest.raises(BadConfig, match="registered twice"):
        shelf.register("one")(Book())


def test_a_definition_that_is_run_again_replaces_itself(shelf: Registry):
    def define() -> type:
        @shelf.register("mine")
        class Mine:
            pass

        return Mine

    define()
    second = define()
    assert shelf.get("mine") is second


def test_resolve_model_asks_the_lab_only_for_lab_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    lab = ModuleType("errata.lab.models")
    vars(lab)["resolve"] = lambda name: tmp_path / name
    monkeypatch.setitem(sys.modules, "errata.lab.models", lab)
    assert resolve_model("lab:gpt") == tmp_path / "gpt"
    assert resolve_model("gpt2") is None


def test_the_ground_floor_imports_no_torch():
    code = (
        "import sys, errata.edits, errata.registry, errata.datasets as d; d.names(); d.get('zsre');"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
