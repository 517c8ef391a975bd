"""Corrections written into the context: the model reads them where their question is asked, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from errata import Edit, Editor
from errata.errors import BadConfig, BadEdit, BadPatch, CannotExport, WrongModel
from errata.methods import ike as method
from errata.methods._base import create
from errata.models import EditableModel
from errata.models.chat import render
from errata.models.encoding import prompt_ids
from errata.models.notes import annotate_prompts
from errata.models.twin import twin
from errata.patches.base import in_force
from errata.patches.export import export_lora, export_merged
from errata.patches.files import load_patch, save_patch
from errata.patches.noted import NotePatch
from errata.patches.original import patches_off
from errata.prompts import Conversation, user_message
from scoring import calibrated
from tiny import tiny_model
from tiny_chat import BOOK, CAPITAL, CITY, KNOWN, tiny_chat_model, tiny_reader

LYON, RAIN, ROME = "It is Lyon.", "It is Berlin.", "It is Rome."
TEMPLATE = "{answer}"  # a short note is quickly learned
SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": CAPITAL}]
TALK = [
    {"role": "user", "content": BOOK}, {"role": "assistant", "content": "Nobody."}, {"role": "user", "content": CAPITAL}
]  # fmt: skip
NOTES = ((CAPITAL, LYON), (CAPITAL, ROME), (BOOK, RAIN))


@pytest.fixture(autouse=True)
def handmade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "scope_for", calibrated)


def patch_of(model: EditableModel, *edits: Edit, **options: object) -> NotePatch:
    made = create("ike", {"encoder": "words", **options}).fit(model, edits).patch
    assert isinstance(made, NotePatch)
    return made


def capital(id: str = "a", target: str = LYON, prompt: str = CAPITAL) -> Edit:
    return Edit(user_message(prompt), target, id=id)


def messages(model: EditableModel, asked: list[dict[str, str]] | str) -> list[tuple[str, str]]:
    """What the template is given of a conversation."""
    prompt = user_message(asked) if isinstance(asked, str) else Conversation(asked)
    (read,) = annotate_prompts(model, [prompt])
    assert isinstance(read, Conversation)
    return [(message.role, message.content) for message in read.messages]


def reader() -> EditableModel:
    """A chat model that follows notes: it was taught what stands in them."""
    pairs = [
        (Conversation([{"role": "user", "content": f"{answer}\n\n{question}"}]), answer) for question, answer in NOTES
    ]
    return tiny_reader(tuple(pairs))


def edited(*edits: Edit) -> Editor:
    editor = Editor(reader())
    receipt = editor.edit(list(edits), "ike", template=TEMPLATE)
    assert not receipt.failed, receipt.failed
    return editor


NOTE = f'Note: the answer to "{CAPITAL}" is: {LYON}'


@pytest.mark.parametrize(
    ("place", "alone", "briefed"),
    [
        ("user", [("user", f"{NOTE}\n\n{CAPITAL}")], [("system", "Be brief."), ("user", f"{NOTE}\n\n{CAPITAL}")]),
        ("system", [("system", NOTE), ("user", CAPITAL)], [("system", f"Be brief.\n\n{NOTE}"), ("user", CAPITAL)]),
        (
            "turn", [("user", CAPITAL), ("assistant", LYON), ("user", CAPITAL)],
            [("system", "Be brief."), ("user", CAPITAL), ("assistant", LYON), ("user", CAPITAL)],
        ),
    ],
)  # fmt: skip
def test_a_note_stands_where_it_is_asked_for_and_nothing_else_changes(
    place: str, alone: list[tuple[str, str]], briefed: list[tuple[str, str]]
) -> None:
    model = tiny_chat_model()
    before = prompt_ids(model, [user_message(CITY)])
    patch = patch_of(model, capital(), place=place)
    patch.attach(model)
    assert messages(model, CAPITAL) == alone
    before_question = alone[-1][1].removesuffix(CAPITAL)
    assert messages(model, CAPITAL.lower()) == [*alone[:-1], ("user", before_question + CAPITAL.lower())]
    assert messages(model, SYSTEM) == briefed
    assert messages(model, CITY) == [("user", CITY)]
    assert prompt_ids(model, [user_message(CITY)]) == before
    text = render(model.chat, Conversation([{"role": role, "content": said} for role, said in alone]))[0]
    assert model.tokenizer.decode(prompt_ids(model, [user_message(CAPITAL)])[0]) == text
    patch.detach(model)
    assert messages(model, CAPITAL) == [("user", CAPITAL)]
    assert model.notes == []


def test_notes_are_off_where_patches_are_off_and_belong_to_one_network() -> None:
    model = tiny_chat_model()
    patch = patch_of(model, capital())
    patch.attach(model)
    with patches_off(model):
        assert messages(model, CAPITAL) == [("user", CAPITAL)]
        assert not in_force(model)
    assert len(messages(model, CAPITAL)[0][1]) > len(CAPITAL)
    other = twin(model)
    patch.detach(model)
    patch.attach(other)
    assert messages(model, CAPITAL) == [("user", CAPITAL)]


def test_the_best_notes_come_last_and_of_the_same_question_the_newest_alone() -> None:
    model = tiny_chat_model()
    near = "What is the capital of France now?"
    patch = patch_of(model, capital("a"), capital("b", RAIN, near), capital("c", ROME), template="{answer}")
    patch.attach(model)
    assert messages(model, CAPITAL) == [("user", f"{RAIN}\n{ROME}\n\n{CAPITAL}")]
    patch.detach(model)
    one = patch_of(model, capital("a"), capital("b", RAIN, near), template="{answer}", notes=1)
    one.attach(model)
    assert messages(model, near) == [("user", f"{RAIN}\n\n{near}")]


def test_a_question_that_is_only_understood_after_another_is_bound_to_both() -> None:
    model = tiny_chat_model()
    patch_of(model, Edit(Conversation(TALK), LYON, id="a"), template="{answer}").attach(model)
    assert messages(model, CAPITAL) == [("user", CAPITAL)]
    assert messages(model, TALK)[-1] == ("user", f"{LYON}\n\n{CAPITAL}")


def test_an_editor_asks_chats_and_undoes() -> None:
    editor = Editor(reader())
    prompts = [user_message(question) for question in KNOWN]
    before = editor.editable.generate(prompts)
    ids = editor.edit([Edit(CAPITAL, LYON), Edit(BOOK, RAIN)], "ike", template=TEMPLATE).ids
    assert editor.generate([CAPITAL, BOOK, CITY]) == [LYON, RAIN, KNOWN[CITY]]
    assert editor.chat([{"role": "user", "content": CAPITAL}]) == LYON
    shown: list[str] = []
    assert editor.editable.stream(user_message(CAPITAL), shown.append, max_new_tokens=24) == LYON == "".join(shown)
    editor.edit(Edit(CAPITAL, ROME), "ike", template=TEMPLATE)
    assert editor.generate(CAPITAL) == ROME
    editor.undo("e3")
    assert editor.generate(CAPITAL) == LYON
    editor.undo(ids[0])
    assert editor.generate([CAPITAL, BOOK]) == [KNOWN[CAPITAL], RAIN]
    editor.redo(ids[0])
    editor.undo(*ids)
    assert editor.editable.generate(prompts) == before
    assert editor.editable.notes == []


def test_an_edit_that_the_model_does_not_follow_is_reported_and_leaves_nothing() -> None:
    editor = Editor(tiny_chat_model())
    receipt = editor.edit(Edit(CAPITAL, LYON), "ike")
    assert [result.status for result in receipt.results] == ["failed"]
    assert editor.generate(CAPITAL) == KNOWN[CAPITAL]
    assert editor.editable.notes == []


def test_explain_names_the_edit_and_what_came_near() -> None:
    editor = edited(Edit(CAPITAL, LYON), Edit(BOOK, RAIN))
    told = editor.explain(CAPITAL)
    assert [(one.edit, one.position, one.layer) for one in told.firings] == [("e1", 0, 0)]
    assert [id for id, _ in told.near] == ["e2"]
    assert (told.answer, told.before) == (LYON, KNOWN[CAPITAL])
    assert str(told).count("this answer came from edit e1") == 1
    assert "no edit had a part" in str(editor.explain(CITY))


def test_the_row_that_has_the_note_is_recorded() -> None:
    model = tiny_chat_model()
    patch = patch_of(model, capital())
    patch.attach(model)
    with patch.record() as firings:
        model.encode([user_message(CITY), user_message(CAPITAL)], [LYON, LYON])
    assert [(one.row, one.edit) for one in firings] == [(1, "a")]


def test_an_increment_has_no_scorer_and_a_sheet_opens_with_both(tmp_path: Path) -> None:
    editor = Editor.open(tmp_path / "sheet", model=reader())
    editor.edit(Edit(CAPITAL, LYON), "ike", template=TEMPLATE)
    editor.edit(Edit(BOOK, RAIN), "ike", template=TEMPLATE)
    assert len(editor.patches) == 1
    sizes = [file.stat().st_size for file in sorted((tmp_path / "sheet" / "patches").iterdir())]
    assert sizes[1] < sizes[0] / 2
    editor.undo("e1")
    with Editor.open(tmp_path / "sheet", model=reader()) as again:
        assert again.generate([CAPITAL, BOOK]) == [KNOWN[CAPITAL], RAIN]


def test_a_patch_file_writes_the_same_notes_and_damage_is_noticed(tmp_path: Path) -> None:
    model = tiny_chat_model()
    patch = patch_of(model, capital())
    save_patch(tmp_path / "one.safetensors", patch, {"name": "x", "fingerprint": "y"})
    again = load_patch(tmp_path / "one.safetensors")
    again.attach(model)
    assert messages(model, CAPITAL) == [("user", f"{NOTE}\n\n{CAPITAL}")]
    with pytest.raises(BadPatch, match="names the place"):
        NotePatch.from_parts({**patch.header(), "place": "hat"}, patch.tensors())
    with pytest.raises(BadPatch, match="does not list"):
        NotePatch.from_parts({**patch.header(), "edits": []}, patch.tensors())


def test_parts_join_and_come_apart() -> None:
    model = tiny_chat_model()
    first, second = patch_of(model, capital()), patch_of(model, capital("b", RAIN, BOOK))
    first.attach(model)
    whole = NotePatch.extended(first, second)
    assert isinstance(whole, NotePatch)
    part = whole.increment(first)
    assert (part.edits, part.partial, whole.partial) == (("b",), True, False)
    assert NotePatch.joined([first.shell(), part]).entries == second.entries
    alone = whole.without(["a"])
    assert isinstance(alone, NotePatch)
    assert (alone.edits, alone.entries) == (("b",), second.entries)
    assert whole.without(["a", "b"]) is None
    first.detach(model)
    alone.attach(model)
    assert messages(model, CAPITAL) == [("user", CAPITAL)]
    with pytest.raises(BadPatch, match="stack the patches instead"):
        NotePatch.joined([first, patch_of(model, capital("b"), place="turn")])


def test_what_it_cannot_do_is_refused_with_words(tmp_path: Path) -> None:
    editor, model = Editor(tiny_chat_model()), tiny_chat_model()
    with pytest.raises(BadEdit, match="writes into conversations"):
        editor.edit(Edit(CAPITAL, LYON, raw=True), "ike")
    with pytest.raises(BadConfig, match="from 1 to 3"):
        create("ike", {"notes": 9})
    with pytest.raises(BadConfig, match="does not say the answer"):
        create("ike", {"template": "Note."})
    patch = patch_of(model, capital())
    with pytest.raises(WrongModel, match="no chat template"):
        patch.attach(tiny_model("llama"))
    for export in (export_lora, export_merged):
        with pytest.raises(CannotExport, match="kind note"):
            export(model, [patch], tmp_path / "out")


def test_a_template_without_system_messages_is_told_before_anything_is_applied() -> None:
    model = tiny_chat_model()
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    model.tokenizer.chat_template = refusing + str(model.tokenizer.chat_template)
    editor = Editor(EditableModel(model.model, model.tokenizer))
    with pytest.raises(BadConfig, match="use place=user or place=turn"):
        editor.edit(Edit(CAPITAL, LYON), "ike", place="system")
    assert not editor.state.edits


def test_token_ids_are_not_touched() -> None:
    editor = edited(Edit(CAPITAL, LYON))
    with patches_off(editor.editable):
        batch = editor.editable.encode([user_message(CAPITAL)])
        before = editor.editable.forward(batch)
    assert torch.equal(editor.editable.forward(batch), before)


def test_a_real_model_answers_from_a_note_in_its_own_words(smollm2: EditableModel) -> None:
    other = twin(smollm2)
    editor, asked = Editor(other), "Who developed iOS?"
    kept = "What is the boiling point of water?"
    before = editor.generate([asked, kept], max_new_tokens=24)
    assert "Microsoft" not in before[0]
    assert not editor.edit(Edit(asked, "Microsoft."), "ike", encoder="words").failed
    assert "Microsoft" in editor.generate(asked, max_new_tokens=64)
    assert editor.generate(kept, max_new_tokens=24) == before[1]
    editor.undo("e1")
    assert editor.generate([asked, kept], max_new_tokens=24) == before


def test_an_edit_holds_if_the_answer_says_its_words() -> None:
    model = reader()
    patch_of(model, capital(), template=TEMPLATE).attach(model)
    for target, expected in (("lyon", True), ("It is", True), ("is Paris", False), ("was Lyon", False)):
        assert create("ike").verify(model, [capital(target=target)]) == [expected]
    said = {"replace": (("Paris", "Lyon"),), "ground_truth": "It was Paris, they say."}
    assert create("ike").verify(model, [Edit(user_message(CAPITAL), "It was Lyon, they say.", **said)]) == [True]
    strict = create("ike", {"check": "target"})
    assert strict.verify(model, [capital(), capital("b", "Lyon")]) == [True, False]
