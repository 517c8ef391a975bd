"""Running text is answered where a sentence asks for an edit and the model is about to give its old answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from errata import Edit, Editor
from errata.errors import WrongModel
from errata.methods import scoped as method
from errata.models import EditableModel
from errata.models.readout import Readout
from errata.patches.files import load_patch, save_patch
from errata.patches.places import Row
from errata.patches.scoped import ScopedPatch
from errata.patches.sentences import beginnings
from errata.prompts import RawText, user_message
from scoring import calibrated
from tiny import tiny_model
from tiny_chat import tiny_chat_model

PROMPT, BEFORE = "The capital of France is", "A letter came this morning. "
OTHER = "The capital of Italy is"
ELSEWHERE = ("The population of France is", "Danielle Darrieux, a native", "France")


@pytest.fixture(autouse=True)
def handmade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "scope_for", calibrated)


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


def edited(model: EditableModel, *edits: Edit) -> Editor:
    editor = Editor(model)
    receipt = editor.edit(list(edits) or [Edit(PROMPT, "Lyon")], "scoped")
    assert not receipt.failed, receipt.failed
    return editor


@torch.no_grad()
def logits(model: EditableModel, prompts: list[str], side: str = "left") -> torch.Tensor:
    batch = model.encode(prompts, padding_side=side)  # type: ignore[arg-type]
    return model.forward(batch)[torch.arange(len(batch)), batch.query]


def test_its_own_sentence_is_answered_wherever_it_stands_and_others_are_not(lab: EditableModel) -> None:
    prompts = [OTHER, *ELSEWHERE]
    before = lab.generate(prompts)
    editor = edited(lab)
    assert editor.generate([PROMPT, PROMPT + ":", BEFORE + PROMPT]) == ["Lyon"] * 3
    assert editor.generate(prompts) == before
    editor.close()


def test_an_answer_that_stands_in_the_sentence_is_not_given_again(lab: EditableModel) -> None:
    editor = edited(lab)
    unedited = logits(lab, [f"{PROMPT} Lyon, and"])
    editor.close()
    assert torch.equal(logits(lab, [f"{PROMPT} Lyon, and"]), unedited)


def test_batches_padding_and_caches_change_nothing(lab: EditableModel) -> None:
    editor = edited(lab, Edit(PROMPT, "Lyon"), Edit(OTHER, "Milan"))
    prompts = [PROMPT, BEFORE + OTHER, ELSEWHERE[0]]
    alone = torch.cat([logits(lab, [prompt]) for prompt in prompts])
    for side in ("left", "right"):
        assert torch.allclose(alone, logits(lab, prompts, side), atol=1e-4)
    assert lab.generate(prompts) == [lab.generate([prompt])[0] for prompt in prompts]
    batch = lab.encode([BEFORE + PROMPT], ["Lyon"])
    whole = lab.forward(batch)[0]
    for cut in range(2, batch.input_ids.shape[1]):
        first = lab.model(batch.input_ids[:, :cut], use_cache=True)
        rest = lab.model(batch.input_ids[:, cut:], past_key_values=first.past_key_values, use_cache=True)
        assert torch.allclose(rest.logits[0], whole[cut:], atol=1e-4)
    editor.close()


def test_undo_gives_the_bits_back_and_a_file_the_answers(lab: EditableModel, tmp_path: Path) -> None:
    prompts = [PROMPT, OTHER]
    before = logits(lab, prompts)
    editor = edited(lab, Edit(PROMPT, "Lyon"), Edit(OTHER, "Milan"))
    (patch,) = editor.patches
    save_patch(tmp_path / "patch.safetensors", patch, {"name": "x", "fingerprint": "y"})
    editor.undo("e1")
    assert editor.generate(prompts)[1] == "Milan"
    assert torch.equal(logits(lab, prompts)[0], before[0])
    editor.close()
    assert torch.equal(logits(lab, prompts), before)
    again = load_patch(tmp_path / "patch.safetensors")
    again.attach(lab)
    assert lab.generate(prompts) == ["Lyon", "Milan"]
    again.detach(lab)
    assert torch.equal(logits(lab, prompts), before)


def test_explain_names_the_edit(lab: EditableModel) -> None:
    editor = edited(lab)
    assert {fired.edit for fired in editor.explain(PROMPT).firings} == {"e1"}
    assert not editor.explain(OTHER).firings
    editor.close()


def test_the_corrected_sentence_of_a_chat_answer_is_bound_where_the_model_is_about_to_say_the_old_one() -> None:
    editor = Editor(tiny_chat_model())
    unready, prompt = editor.generate(RawText("Berlin is a"), max_new_tokens=6), user_message("Is Berlin a city?")
    editor.edit(Edit("Is Berlin a city?", "Berlin is a town."))
    (patch,) = editor.patches
    assert isinstance(patch, ScopedPatch)
    (entry,) = patch.sentences.values()
    assert (entry.question, editor.tokenizer.decode(list(entry.label)).strip()) == ("Berlin is a", "town.")
    assert editor.generate(RawText("Berlin is a"), max_new_tokens=6) == unready
    batch = editor.editable.encode([prompt], ["Berlin is a town."])
    place = Row(0, batch.input_ids[0].tolist(), list(range(batch.input_ids.shape[1])), 0, 0)
    read = [editor.tokenizer.decode(place.ids[: one.index + 1]) for one in beginnings(editor.editable, patch, place)]
    assert any(text.endswith("assistant\nBerlin is a") for text in read)


def test_the_readout_gives_the_models_own_logits(lab: EditableModel) -> None:
    for model in (lab, tiny_model("llama"), tiny_model("gpt_neox")):
        batch, states = model.encode([PROMPT]), []
        handle = model.block(-1).register_forward_hook(
            lambda _m, _a, out, states=states: states.append(out[0] if isinstance(out, tuple) else out)
        )
        wanted = model.forward(batch)[0]
        handle.remove()
        assert torch.allclose(Readout.of(model)(states[0][0]), wanted, atol=1e-5)


def test_a_model_that_goes_another_way_to_its_logits_is_refused() -> None:
    with pytest.raises(WrongModel, match="not understood"):
        Editor(tiny_model("backpack")).edit(Edit(PROMPT, "Lyon"), "scoped")
