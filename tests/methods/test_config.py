"""Options of methods: typed from text, refused by name, documented once."""

from __future__ import annotations

import dataclasses

import pytest

from errata.errors import BadConfig, UnknownName
from errata.methods._base import METHODS, create


def test_text_from_a_command_line_becomes_typed():
    config = create("grace", {"radius": "2.5", "layer": "3", "init": "cold"}).config
    assert (config.radius, config.layer, config.init) == (2.5, 3, "cold")
    assert create("grace", {"layer": "0.5"}).config.layer == 0.5
    assert create("grace", {"layer": "auto"}).config.layer == "auto"
    assert isinstance(create("grace", {"steps": 12.0}).config.steps, int)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("radios", 1, "unknown option 'radios'.*Did you mean 'radius'"),
        ("radius", "wide", "'radius' must be a number, not 'wide'"),
        ("steps", 1.5, "'steps' must be a whole number"),
        ("init", "hot", "'init' must be 'warm' or 'cold'"),
    ],
)
def test_a_wrong_option_is_one_clear_line(name: str, value: object, told: str):
    with pytest.raises(BadConfig, match=told):
        create("grace", {name: value})


def test_an_unknown_method_is_named():
    with pytest.raises(UnknownName, match="Did you mean 'grace'"):
        create("grase")


@pytest.mark.parametrize("name", METHODS.names())
def test_every_option_is_documented_and_survives_json(name: str):
    method = METHODS.get(name)
    assert method.__doc__
    assert {"paper", "patch", "needs_training"} <= set(method.meta)
    for item in dataclasses.fields(method.Config):
        assert item.metadata["help"], f"{name}.{item.name} has no help"
    config = method.Config()
    assert method.Config.of(config.to_json()) == config
