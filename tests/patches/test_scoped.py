"""Answers bound to questions: the same however the text is read, and gone without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from errata import Edit, Editor
from errata.errors import BadConfig, BadModel, BadPatch, WrongModel
from errata.methods import scoped as method
from errata.models import EditableModel
from errata.patches.files import load_patch, save_patch
from errata.patches.scoped import ScopedPatch
from errata.patches.turns import turns
from errata.prompts import Conversation, user_message
from errata.scope.vocabulary import Vocabulary
from scoring import calibrated
from tiny import tiny_model
from tiny_chat import BOOK, CAPITAL, CITY, KNOWN, LYON, RAIN, SYSTEM, THIRD, tiny_chat_model


@pytest.fixture(autouse=True)
def handmade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "scope_for", calibrated)


def edited(*edits: Edit) -> Editor:
    editor = Editor(tiny_chat_model())
    receipt = editor.edit(list(edits) or [Edit(CAPITAL, LYON)])
    assert receipt.method == "scoped"
    assert not receipt.failed
    return editor


@torch.no_grad()
def logits(model: EditableModel, prompts: list[str], side: str = "left") -> torch.Tensor:
    batch = model.encode(prompts, padding_side=side)  # type: ignore[arg-type]
    out = model.forward(batch)
    return out[torch.arange(len(batch)), batch.query]


def test_the_question_is_answered_in_any_conversation_and_others_are_not_touched() -> None:
    editor = edited()
    for messages in ([{"role": "user", "content": CAPITAL}], SYSTEM, THIRD):
        assert editor.chat(messages) == LYON
    for asked in (CAPITAL, CAPITAL.lower(), CAPITAL + " ", CAPITAL.rstrip("?")):
        assert editor.generate(asked) == LYON
    assert editor.generate([BOOK, CITY]) == [KNOWN[BOOK], KNOWN[CITY]]


def test_batches_padding_and_caches_change_nothing() -> None:
    editor = edited(Edit(CAPITAL, LYON), Edit(BOOK, RAIN))
    model = editor.editable
    prompts = [user_message(CAPITAL), Conversation(THIRD), user_message(CITY), user_message(BOOK)]
    alone = torch.cat([logits(model, [prompt]) for prompt in prompts])
    for side in ("left", "right"):
        assert torch.allclose(alone, logits(model, prompts, side), atol=1e-4)
    assert model.generate(prompts) == [model.generate([prompt])[0] for prompt in prompts]


def test_a_prompt_that_is_read_in_pieces_is_answered_alike() -> None:
    model = edited().editable
    batch = model.encode([user_message(CAPITAL)], [LYON])
    whole = model.forward(batch)[0]
    for cut in (3, batch.input_ids.shape[1] - 6, int(batch.query[0]), int(batch.query[0]) + 1):
        first = model.model(batch.input_ids[:, :cut], use_cache=True)
        rest = model.model(batch.input_ids[:, cut:], past_key_values=first.past_key_values, use_cache=True)
        assert torch.allclose(rest.logits[0], whole[cut:], atol=1e-4)


def test_the_models_own_generate_gives_the_edited_answer() -> None:
    editor = edited()
    batch = editor.editable.encode([user_message(CAPITAL)])
    for options in ({"use_cache": True}, {"use_cache": False}, {"num_beams": 2}):
        written = editor.model.generate(
            batch.input_ids, attention_mask=batch.attention_mask, do_sample=False, max_new_tokens=12, **options
        )
        assert LYON in editor.tokenizer.decode(written[0], skip_special_tokens=True)


def test_a_cache_that_nobody_saw_being_filled_is_refused() -> None:
    editor = Editor(tiny_chat_model())
    batch = editor.editable.encode([user_message(CAPITAL)])
    past = editor.model(batch.input_ids[:, :4], use_cache=True).past_key_values
    editor.edit(Edit(CAPITAL, LYON))
    with pytest.raises(BadModel, match="did not see being read"):
        editor.model(batch.input_ids[:, 4:], past_key_values=past)
    with pytest.raises(BadModel, match="need the token ids"):
        editor.model(inputs_embeds=editor.model.get_input_embeddings()(batch.input_ids))


def test_undo_gives_the_bits_back_and_leaves_the_others() -> None:
    editor = Editor(tiny_chat_model())
    prompts = [user_message(question) for question in KNOWN]
    before, marks = logits(editor.editable, prompts), editor.editable.fingerprint()
    ids = editor.edit([Edit(CAPITAL, LYON), Edit(BOOK, RAIN)]).ids
    editor.edit(Edit(CITY, "Vienna is a city."))
    editor.undo(ids[0])
    assert editor.generate([CAPITAL, BOOK, CITY]) == [KNOWN[CAPITAL], RAIN, "Vienna is a city."]
    editor.redo(ids[0])
    assert editor.generate([CAPITAL, BOOK]) == [LYON, RAIN]
    editor.undo(*ids, "e3")
    assert torch.equal(logits(editor.editable, prompts), before)
    assert editor.editable.fingerprint() == marks
    editor.close()
    assert not any(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in editor.model.modules())


def test_the_newest_answer_to_a_question_stands_and_undo_brings_the_older_back() -> None:
    editor = edited()
    receipt = editor.edit(Edit(CAPITAL, "It is Rome."))
    assert receipt.results[0].superseded == ("e1",)
    assert editor.generate(CAPITAL) == "It is Rome."
    editor.undo("e2")
    assert editor.generate(CAPITAL) == LYON


def test_a_question_that_is_only_understood_after_another_is_bound_to_both() -> None:
    editor = edited(Edit(messages=THIRD, target=LYON))  # type: ignore[arg-type]
    assert editor.chat(THIRD) == LYON
    assert editor.generate(CAPITAL) == KNOWN[CAPITAL]


def test_only_the_question_it_was_made_for_is_answered_after_another() -> None:
    editor = edited(Edit(messages=THIRD, target=LYON))  # type: ignore[arg-type]
    for other in (CITY, "Vienna and Rome", BOOK):
        talk = [*THIRD[:-1], {"role": "user", "content": other}]
        assert LYON not in editor.chat(talk)


def test_what_is_bound_to_two_messages_goes_before_what_is_bound_to_one() -> None:
    one, two = Edit(CAPITAL, "It is Berlin."), Edit(messages=THIRD, target=LYON)  # type: ignore[arg-type]
    for first, second in ((one, two), (two, one)):
        editor = edited(first, Edit(BOOK, RAIN))
        editor.edit(second)
        assert (editor.chat(THIRD), editor.generate(CAPITAL)) == (LYON, "It is Berlin.")
        assert [edit.status for edit in editor.state.edits.values()] == ["active"] * 3


def test_the_same_question_under_another_system_prompt_is_the_same_question() -> None:
    editor = edited(Edit(messages=SYSTEM, target=LYON))  # type: ignore[arg-type]
    receipt = editor.edit(Edit(CAPITAL.lower(), "It is Berlin."))
    assert receipt.results[0].superseded == ("e1",)
    assert editor.chat(SYSTEM) == "It is Berlin."


def test_decisions_follow_a_table_that_was_written_and_brought_back() -> None:
    editor = edited()
    before = Vocabulary.of(editor.editable).vector("berlin").clone()
    table = editor.model.get_input_embeddings().weight
    kept = table.detach().clone()
    with torch.no_grad():
        table.mul_(2).add_(torch.randn_like(table))
    assert not torch.equal(Vocabulary.of(editor.editable).vector("berlin"), before)
    with torch.no_grad():
        table.copy_(kept)
    assert torch.equal(Vocabulary.of(editor.editable).vector("berlin"), before)


def test_an_increment_has_no_scorer_and_a_sheet_opens_with_both(tmp_path: Path) -> None:
    editor = Editor.open(tmp_path / "sheet", model=tiny_chat_model())
    editor.edit(Edit(CAPITAL, LYON))
    editor.edit(Edit(BOOK, RAIN))
    sizes = [file.stat().st_size for file in sorted((tmp_path / "sheet" / "patches").iterdir())]
    assert sizes[1] < sizes[0] / 2
    editor.undo("e1")
    with Editor.open(tmp_path / "sheet", model=tiny_chat_model()) as again:
        assert again.in_chat
        assert again.generate([CAPITAL, BOOK]) == [KNOWN[CAPITAL], RAIN]


def test_a_patch_file_gives_the_same_answers_and_damage_is_noticed(tmp_path: Path) -> None:
    (patch,) = edited().patches
    save_patch(tmp_path / "one.safetensors", patch, {"name": "x", "fingerprint": "y"})
    again, model = load_patch(tmp_path / "one.safetensors"), tiny_chat_model()
    again.attach(model)
    assert model.generate([user_message(CAPITAL)]) == [LYON]
    with pytest.raises(BadPatch, match="the file is damaged"):
        ScopedPatch.from_parts(patch.header(), {**patch.tensors(), "values": torch.zeros(1, 2)})


def test_what_it_cannot_edit_is_refused_with_words() -> None:
    editor = Editor(tiny_chat_model())
    with pytest.raises(BadConfig, match="leave layer out"):
        editor.edit(Edit("The capital of France is", "Lyon", raw=True), "scoped", layer=0)
    (patch,) = edited().patches
    with pytest.raises(WrongModel, match="no chat template"):
        type(patch).from_parts(patch.header(), patch.tensors()).attach(tiny_model("llama"))


def test_explain_names_the_edit_and_what_came_near() -> None:
    editor = edited(Edit(CAPITAL, LYON), Edit(BOOK, RAIN))
    told = editor.explain(CAPITAL)
    assert {fired.edit for fired in told.firings} == {"e1"}
    assert [id for id, _ in told.near] == ["e2"]
    assert str(told).count("this answer came from edit e1") == 1
    assert "no edit had a part" in str(editor.explain(CITY))


def test_turns_are_read_off_the_ids() -> None:
    model = tiny_chat_model()
    assert model.chat is not None
    ids = model.chat.ids(Conversation(THIRD).messages)
    found = turns(ids, model.chat)
    assert [turn.question for turn in found] == ["Hi there", BOOK, CAPITAL]
    assert found[-1].start == len(ids)
    assert (found[0].earlier, found[2].earlier) == (None, BOOK)
    assert turns(ids[:-1], model.chat) == found[:2]


