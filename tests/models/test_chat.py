"""Conversations as a chat model reads them: the template's own text, one BOS, the end of an answer."""

from __future__ import annotations

import pytest
import torch

from errata.errors import BadEdit, BadModel
from errata.models import EditableModel
from errata.models.chat import ChatFormat, render
from errata.models.encoding import prompt_ids
from errata.models.positions import subject_span
from errata.prompts import Conversation, Message, RawText, user_message
from tiny import tiny_model, tiny_tokenizer
from tiny_chat import CAPITAL, KNOWN, tiny_chat_model

WITH_BOS = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}"
)
THINKING = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>a\n{% if think %}<think>{% endif %}{% endif %}"
)
PICKY = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "{% for m in messages %}[{{ m.content }}]{% endfor %}"
)


def test_a_model_without_a_template_has_no_format() -> None:
    assert tiny_model("llama").chat is None
    with pytest.raises(BadEdit, match="has no chat template"):
        prompt_ids(tiny_model("llama"), [user_message("Hi")])


def test_header_opening_and_end_are_read_off_the_template() -> None:
    model = tiny_chat_model()
    chat = model.chat
    assert chat is not None
    assert model.tokenizer.decode(list(chat.header)) == "<s>user\n"  # a first message has no turn before it
    assert model.tokenizer.decode(list(chat.opening)) == "</s>\n<s>assistant\n"
    assert chat.end == model.tokenizer.eos_token_id


@pytest.mark.parametrize("special", ["none", "bos"])
def test_there_is_exactly_one_bos(special: str) -> None:
    tokenizer = tiny_tokenizer(special)  # type: ignore[arg-type]
    for template in (WITH_BOS, "{{ bos_token }}" + WITH_BOS, WITH_BOS.removeprefix("{{ bos_token }}")):
        tokenizer.chat_template = template
        chat = ChatFormat.of(tokenizer)
        assert chat is not None
        ids = chat.ids([Message("user", "Hi")])
        wanted = 0 if special == "none" and template.startswith("{% for") else 1
        assert ids.count(tokenizer.bos_token_id) == wanted


def test_options_reach_the_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = THINKING
    plain, thinking = ChatFormat.of(tokenizer), ChatFormat.of(tokenizer, {"think": True})
    assert plain is not None
    assert thinking is not None
    assert thinking.text([Message("user", "Hi")]) == plain.text([Message("user", "Hi")]) + "<think>"


def test_a_template_that_fails_says_so_in_one_line() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = PICKY
    chat = ChatFormat.of(tokenizer)
    with pytest.raises(BadEdit, match="does not take these messages: no system here") as caught:
        render(chat, Conversation([Message("system", "x"), Message("user", "y")]))
    assert "\n" not in str(caught.value)
    tokenizer.chat_template = "{{ messages.nothing.here }}"
    with pytest.raises(BadModel, match="give the tokenizer a chat template"):
        ChatFormat.of(tokenizer)


def test_targets_begin_the_answers_turn_and_end_as_the_format_ends() -> None:
    model = tiny_chat_model()
    batch = model.encode([user_message(CAPITAL), "The capital"], [" It is Paris.", "Paris"])
    assert model.tokenizer.decode(batch.target_ids[0]) == "It is Paris.</s>"
    assert model.tokenizer.decode(batch.target_ids[1]) == " Paris</s>"
    query = int(batch.query[0])
    assert model.tokenizer.decode(batch.input_ids[0, : query + 1]).endswith("<s>assistant\n")
    assert bool(model.greedy_match(model.encode([user_message(CAPITAL)], [KNOWN[CAPITAL]]))[0])


def test_plain_and_raw_texts_are_read_as_they_stand() -> None:
    model = tiny_chat_model()
    assert prompt_ids(model, ["Hi", RawText("Hi")])[0] == prompt_ids(model, [RawText("Hi")])[0]
    assert prompt_ids(model, [user_message("Hi")])[0] != prompt_ids(model, ["Hi"])[0]


def test_a_subject_is_found_inside_the_template() -> None:
    model = tiny_chat_model()
    prompt = Conversation([Message("system", "France is far."), Message("user", CAPITAL)])
    span = subject_span(model, prompt, "France")
    ids = prompt_ids(model, [prompt])[0]
    assert model.tokenizer.decode(ids[span.start : span.stop]).strip() == "France"
    assert span.start > len(prompt_ids(model, [Conversation((*prompt.messages[:1], Message("user", "x")))])[0]) - 8


def test_answers_stop_at_the_end_of_the_turn() -> None:
    model = tiny_chat_model()
    assert model.generate([user_message(question) for question in KNOWN]) == list(KNOWN.values())
    other = EditableModel(model.model, model.tokenizer)
    assert torch.equal(other.encode([user_message(CAPITAL)]).input_ids, model.encode([user_message(CAPITAL)]).input_ids)
