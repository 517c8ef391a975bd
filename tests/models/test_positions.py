"""The subject's last token, in the tokenisation the model reads."""

import pytest
import torch

from errata.errors import BadEdit, BadModel
from errata.models.positions import subject_last_token, subject_span
from tiny import tiny_model


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("The mother tongue of Danielle Darrieux is", "Danielle Darrieux"),
        ("Darrieux speaks", "Darrieux"),
        ("The capital is Rome", "Rome"),
        ("In the café by Søren", "Søren"),  # letters of several bytes, hence of several tokens
        ("They met at the café", "café"),
        ("The {} of {subject} is", "{subject}"),
    ],
)
def test_the_token_ends_the_subject(prompt: str, subject: str, bos: bool) -> None:
    model = tiny_model("gpt2", bos=bos)
    ids = model.encode([prompt]).input_ids[0]
    column = subject_last_token(model, prompt, subject)
    upto = model.tokenizer.decode(ids[: column + 1], skip_special_tokens=True)
    assert upto == prompt[: prompt.index(subject) + len(subject)]
    span = subject_span(model, prompt, subject)
    assert span.stop == column + 1
    assert model.tokenizer.decode(ids[span.start : span.stop]).strip() == subject


def test_bos_shifts_by_one() -> None:
    prompt = "The capital of Italy is Rome"
    plain = subject_last_token(tiny_model("gpt2"), prompt, "Italy")
    assert subject_last_token(tiny_model("gpt2", bos=True), prompt, "Italy") == plain + 1


def test_the_first_of_several_occurrences() -> None:
    model = tiny_model("gpt2")
    prompt = "Rome is Rome"
    assert subject_last_token(model, prompt, "Rome") == len(model.tokenizer("Rome")["input_ids"]) - 1


def test_position_in_a_padded_batch() -> None:
    model = tiny_model("gpt2")
    prompts = ["Rome is", "The capital of Italy is"]
    pairs = zip(prompts, ["Rome", "Italy"], strict=True)
    columns = torch.tensor([subject_last_token(model, prompt, subject) for prompt, subject in pairs])
    right, left = model.encode(prompts), model.encode(prompts, padding_side="left")
    rows = torch.arange(2)
    assert right.pads.tolist() == [0, 0]
    assert torch.equal(right.input_ids[rows, columns + right.pads], left.input_ids[rows, columns + left.pads])


def test_what_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    with pytest.raises(BadEdit, match="'Paris' is not in the prompt 'Rome is'"):
        subject_last_token(model, "Rome is", "Paris")
    with pytest.raises(BadEdit, match="'' is not in the prompt"):
        subject_last_token(model, "Rome is", "")
    monkeypatch.setattr(model, "tokenizer", type("Slow", (), {"is_fast": False})())
    with pytest.raises(BadModel, match="Slow reports no character offsets"):
        subject_last_token(model, "Rome is", "Rome")
