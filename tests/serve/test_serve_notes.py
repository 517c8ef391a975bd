"""Notes on the server: a conversation is rendered for the version that answers it, and the answer names the edits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from errata.edits import Edit
from errata.methods import ike as method
from errata.methods._base import create
from errata.models import EditableModel
from errata.patches.noted import NotePatch
from errata.prompts import user_message
from errata.serve.engine.engine import Engine
from errata.serve.engine.request import Sampling
from errata.serve.reader import Reader, Turn
from scoring import calibrated
from tiny_chat import CAPITAL, CITY, tiny_chat_model

PATIENCE = 60.0
GREEDY = Sampling(max_tokens=12, temperature=0)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Engine, Reader, NotePatch, EditableModel]]:
    monkeypatch.setattr(method, "scope_for", calibrated)
    base, other = tiny_chat_model(), tiny_chat_model()
    edit = Edit(user_message(CAPITAL), "It is Lyon.", id="e1")
    patch = create("ike", {"encoder": "words", "template": "{answer}"}).fit(base, [edit]).patch
    assert isinstance(patch, NotePatch)
    engine, reader = Engine(base), Reader(base)
    engine.start()
    done: Future[int] = engine.swap(1, [patch])
    assert done.result(PATIENCE) == 1
    patch.attach(other)
    yield engine, reader, patch, other
    reader.close()
    engine.stop()


def test_a_chat_is_answered_with_its_note_and_the_parent_without(
    served: tuple[Engine, Reader, NotePatch, EditableModel],
) -> None:
    engine, reader, patch, other = served
    for asked, fires in ((CAPITAL, ["e1"]), (CITY, [])):
        for parent in (False, True):
            version = engine.version(parent=parent)
            prompt = asyncio.run(reader.chat([Turn("user", asked)], version.model))
            (made,) = engine.submit_all([(prompt.ids, GREEDY)], version=version, fired=prompt.fired)
            answer = made.finished.result(PATIENCE)
            with_note = not parent and bool(fires)
            assert [fired.edit for fired in answer.fired] == (fires if with_note else [])
            assert answer.version == (0 if parent else 1)
            assert prompt == asyncio.run(reader.prompt(user_message(asked), version.model))
            if not with_note:
                patch.detach(other)
            assert answer.text.strip() == other.generate([user_message(asked)], max_new_tokens=12)[0]
            patch.attach(other)


def test_messages_that_only_the_server_takes_are_left_as_they_are(
    served: tuple[Engine, Reader, NotePatch, EditableModel],
) -> None:
    engine, reader, _, _ = served
    late = [Turn("user", ""), Turn("developer", "Be brief."), Turn("user", CAPITAL)]
    model, base = engine.version().model, engine.version(parent=True).model
    noted, plain = (asyncio.run(reader.chat(late, one)) for one in (model, base))
    text = base.tokenizer.decode(noted.ids)
    assert text == str(base.tokenizer.decode(plain.ids)).replace(CAPITAL, f"It is Lyon.\n\n{CAPITAL}")
    said = [Turn("user", CAPITAL), Turn("assistant", "It")]
    assert asyncio.run(reader.chat(said, model)) == asyncio.run(reader.chat(said, base))
