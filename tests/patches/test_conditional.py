"""Changes of a matrix that hold along the answers to one question: the same however the text is read, and undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from errata import Edit, Editor
from errata.errors import BadConfig, BadEdit, BadPatch, CannotExport, WrongModel
from errata.methods import scoped, scoped_lora
from errata.models import EditableModel
from errata.patches.conditional import ConditionalPatch
from errata.patches.export import export_lora
from errata.patches.files import load_patch, save_patch
from errata.prompts import Conversation, user_message
from errata.solve import conditional
from scoring import calibrated
from tiny import tiny_model
from tiny_chat import BOOK, CAPITAL, CITY, KNOWN, LYON, RAIN, SYSTEM, THIRD, tiny_chat_model


@pytest.fixture(autouse=True)
def handmade(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in (scoped, scoped_lora):
        monkeypatch.setattr(method, "scope_for", calibrated)


def edited(*edits: Edit, **options: Any) -> Editor:
    editor = Editor(tiny_chat_model())
    receipt = editor.edit(list(edits) or [Edit(CAPITAL, LYON)], "scoped-lora", **{"contexts": 0, **options})
    assert not receipt.failed
    return editor


@torch.no_grad()
def read(model: EditableModel, prompts: list[str], targets: list[str] | None = None) -> torch.Tensor:
    return model.forward(model.encode(prompts, targets))


def test_the_question_is_answered_and_others_are_not_touched() -> None:
    editor = edited(Edit(CAPITAL, LYON), Edit(BOOK, RAIN))
    assert editor.generate([CAPITAL, BOOK, CITY]) == [LYON, RAIN, KNOWN[CITY]]
    assert editor.chat([{"role": "user", "content": CAPITAL}]) == LYON


def test_the_question_is_answered_in_the_conversations_that_it_was_trained_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tiny model has learned three conversations by heart, so that nothing carries over to others; real models do.
    monkeypatch.setattr(conditional, "TALKS", ((("user", "Hi"), ("assistant", "Hello.")),))
    talk = [*(dict(zip(("role", "content"), turn, strict=True)) for turn in conditional.TALKS[0]), SYSTEM[1]]
    editor = edited(contexts=1)
    assert (editor.generate(CAPITAL), editor.chat(talk)) == (LYON, LYON)
    fired = editor.explain(Conversation(THIRD)).firings
    assert {one.edit for one in fired} == {"e1"}


@pytest.mark.parametrize("layer", [-1, 1])
def test_other_rows_and_what_stands_before_the_answer_keep_their_bits(layer: int) -> None:
    prompts, targets = [user_message(CAPITAL), user_message(CITY), Conversation(THIRD)], [LYON, KNOWN[CITY], LYON]
    editor = edited(layer=layer)
    batch = editor.editable.encode(prompts, targets)
    after = read(editor.editable, prompts, targets)
    editor.undo("e1")
    before = read(editor.editable, prompts, targets)
    assert torch.equal(after[1], before[1])
    for row in (0, 2):
        first = int(batch.query[row])
        assert torch.equal(after[row, :first], before[row, :first])
        assert not torch.equal(after[row, first], before[row, first])


def test_later_turns_are_the_models_own_where_the_last_block_is_changed() -> None:
    talk = [*SYSTEM[1:], {"role": "assistant", "content": LYON}, {"role": "user", "content": CITY}]
    editor = edited()
    with_edit = read(editor.editable, [Conversation(talk)])[0]
    said = editor.chat(talk)
    editor.undo("e1")
    differ = (with_edit != read(editor.editable, [Conversation(talk)])[0]).any(-1).nonzero()[:, 0].tolist()
    ids = editor.editable.encode([user_message(CAPITAL)], [LYON])
    assert differ == list(range(int(ids.query[0]), int(ids.query[0]) + len(ids.target_ids[0])))
    assert editor.chat(talk) == said


def test_batches_padding_and_pieces_change_nothing() -> None:
    model = edited(Edit(CAPITAL, LYON), Edit(BOOK, RAIN)).editable
    prompts = [user_message(CAPITAL), Conversation(THIRD), user_message(CITY), user_message(BOOK)]
    assert model.generate(prompts) == [model.generate([prompt])[0] for prompt in prompts]
    batch = model.encode(prompts[:1], [LYON])
    whole = read(model, prompts[:1], [LYON])[0]
    for side in ("left", "right"):
        padded = model.encode(prompts[:2], [LYON, LYON], padding_side=side)  # type: ignore[arg-type]
        with torch.no_grad():
            mine = model.forward(padded)[0][padded.attention_mask[0] == 1]
        assert torch.allclose(mine, whole, atol=1e-4)
    for cut in (3, int(batch.query[0]), int(batch.query[0]) + 1, batch.input_ids.shape[1] - 1):
        with torch.no_grad():
            first = model.model(batch.input_ids[:, :cut], use_cache=True)
            rest = model.model(batch.input_ids[:, cut:], past_key_values=first.past_key_values, use_cache=True)
        assert torch.allclose(rest.logits[0], whole[cut:], atol=1e-4)


def test_undo_gives_the_bits_back_and_redo_the_answers() -> None:
    editor = Editor(tiny_chat_model())
    prompts: list[str] = [user_message(question) for question in KNOWN]
    before, marks = read(editor.editable, prompts), editor.editable.fingerprint()
    ids = editor.edit([Edit(CAPITAL, LYON), Edit(BOOK, RAIN)], "scoped-lora", contexts=0).ids
    edits = read(editor.editable, prompts)
    editor.undo(ids[0])
    assert editor.generate([CAPITAL, BOOK]) == [KNOWN[CAPITAL], RAIN]
    editor.redo(ids[0])
    assert torch.equal(read(editor.editable, prompts), edits)
    editor.undo(*ids)
    assert torch.equal(read(editor.editable, prompts), before)
    assert editor.editable.fingerprint() == marks
    assert not any(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in editor.model.modules())


def test_the_newest_of_both_effects_stands() -> None:
    for order in (("scoped", "scoped-lora"), ("scoped-lora", "scoped")):
        editor = Editor(tiny_chat_model())
        for method, target in zip(order, (LYON, RAIN), strict=True):
            options: dict[str, Any] = {"contexts": 0} if method == "scoped-lora" else {}
            assert not editor.edit(Edit(CAPITAL, target), method, **options).failed
        assert editor.generate(CAPITAL) == RAIN
        editor.undo("e2")
        assert editor.generate(CAPITAL) == LYON


def test_a_sheet_opens_with_what_was_added_and_a_file_gives_the_same_answers(tmp_path: Path) -> None:
    editor = Editor.open(tmp_path / "sheet", model=tiny_chat_model())
    editor.edit(Edit(CAPITAL, LYON), "scoped-lora", contexts=0)
    assert not editor.edit(Edit(BOOK, RAIN), "scoped-lora", contexts=0, rank=3).failed
    (patch,) = editor.patches
    save_patch(tmp_path / "one.safetensors", patch, {"name": "x", "fingerprint": "y"})
    again, model = load_patch(tmp_path / "one.safetensors"), tiny_chat_model()
    again.attach(model)
    assert model.generate([user_message(CAPITAL), user_message(BOOK)]) == [LYON, RAIN]
    editor.undo("e1")
    with Editor.open(tmp_path / "sheet", model=tiny_chat_model()) as opened:
        assert opened.generate([CAPITAL, BOOK]) == [KNOWN[CAPITAL], RAIN]
    with pytest.raises(BadPatch, match="the file is damaged"):
        ConditionalPatch.from_parts(patch.header(), {**patch.tensors(), "A": torch.zeros(1, 2)})


def test_what_it_cannot_do_is_refused_with_words(tmp_path: Path) -> None:
    editor = Editor(tiny_chat_model())
    with pytest.raises(BadEdit, match="answers in conversations"):
        editor.edit(Edit(CAPITAL, LYON, raw=True), "scoped-lora")
    with pytest.raises(BadConfig, match="no block below"):
        editor.edit(Edit(CAPITAL, LYON), "scoped-lora", layer=0)
    assert editor.edit(Edit(CAPITAL, LYON), "scoped-lora", steps=1, contexts=0).failed
    (patch,) = edited().patches
    with pytest.raises(CannotExport, match="kind conditional"):
        export_lora(editor.editable, [patch], tmp_path / "out")
    with pytest.raises(WrongModel, match="no chat template"):
        type(patch).from_parts(patch.header(), patch.tensors()).attach(tiny_model("llama"))


def test_explain_names_the_edit_and_what_came_near() -> None:
    editor = edited(Edit(CAPITAL, LYON), Edit(BOOK, RAIN))
    told = editor.explain(CAPITAL)
    assert {fired.edit for fired in told.firings} == {"e1"}
    assert [id for id, _ in told.near] == ["e2"]
    assert "no edit had a part" in str(editor.explain(CITY))
