"""Defer and memory: the gate answers its edits, locality prompts can keep it shut, undo fits the rest again."""

from __future__ import annotations

import pytest

from contract.steerable import maker, options, reachable, steerable
from errata import Edit, Editor
from errata.edits import Probe
from errata.errors import BadConfig
from errata.methods._base import create
from errata.patches.adaptor import AdaptorPatch

NAMES = ("defer", "memory")
EDITS = reachable("gpt2")


@pytest.mark.parametrize("name", NAMES)
def test_one_of_a_call_is_undone_by_fitting_the_rest_again(name: str):
    with Editor(steerable("gpt2")) as editor:
        assert editor.edit(EDITS, name, **options(name)).failed == []
        undone = editor.undo("e2")
        assert any("e1, e3: solved again" in note for note in undone.notes)
        alone = maker(name).fit(steerable("gpt2"), [EDITS[0], EDITS[2]]).patch
        (patch,) = editor._stack.patches.values()
        assert alone is not None
        assert patch.edits == ("e1", "e3")
        assert all((tensor == alone.tensors()[key]).all() for key, tensor in patch.tensors().items())


@pytest.mark.parametrize("name", NAMES)
def test_the_gate_is_kept_shut_on_locality_prompts_if_asked(name: str):
    probes = tuple(Probe(edit.prompt) for edit in EDITS[1:])
    edit = Edit(EDITS[0].prompt, EDITS[0].target, locality=probes, id="e1")
    opened = []
    for shut in (0.0, 1.0):
        model = steerable("gpt2")
        # A gate that starts open nearly everywhere.
        patch = maker(name, shut=shut, opening=-0.5, lr=0.1, lead=0.5).fit(model, [edit]).patch
        assert isinstance(patch, AdaptorPatch)
        patch.attach(model)
        with patch.record() as firings:
            model.forward(model.encode([probe.prompt for probe in probes]))
        opened.append(len(firings))
        assert model.greedy_match(model.encode([edit.prompt], [edit.target])).all()
    assert opened[1] < opened[0]


def test_a_table_has_as_many_slots_as_asked():
    patch = maker("memory", slots=7).fit(steerable("gpt2"), EDITS[:1]).patch
    assert patch is not None
    assert patch.tensors()["answer.values"].shape == (7, 32)


def test_a_gate_that_could_never_open_is_refused():
    with pytest.raises(BadConfig, match="less than 1"):
        create("defer", {"opening": 1.0}).fit(steerable("gpt2"), EDITS[:1])
