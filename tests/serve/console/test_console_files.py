"""The console's files: no markup of data, nothing inline, nothing from elsewhere, and text that can be read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pretended import CONSOLE

SCRIPTS = sorted(CONSOLE.glob("*.js"))
FORBIDDEN = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "cookie", "localStorage", ".style",
)  # fmt: skip


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_of_data_or_reaches_out(path: Any):
    text = path.read_text()
    assert [word for word in FORBIDDEN if word in text] == []
    assert re.findall(r"https?://[^\"']+", text) in ([], ["http://www.w3.org/2000/svg"])


def test_the_page_has_nothing_inline():
    page = (CONSOLE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|https?://", page)


def _tokens() -> dict[str, dict[str, str]]:
    text = (CONSOLE / "style.css").read_text()
    light, _, dark = text.partition("prefers-color-scheme: dark")
    parts = {"light": light, "dark": dark}
    return {name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for name, part in parts.items()}


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


PAIRS = [
    ("ink", "paper"), ("soft", "paper"), ("soft", "box"), ("link", "paper"), ("on-link", "link"), ("good", "paper"),
    ("good", "good-box"), ("bad", "paper"), ("bad", "bad-box"), ("warn", "paper"), ("ink", "bad-box"),
    ("ink", "good-box"),
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "back"), PAIRS)
def test_text_has_the_contrast_of_wcag_aa(scheme: str, front: str, back: str):
    tokens = _tokens()[scheme]
    light, dark = sorted((_luminance(tokens[front]), _luminance(tokens[back])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5, json.dumps([tokens[front], tokens[back]])
