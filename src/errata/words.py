"""Texts as words: what is compared when two questions are, whatever their case, punctuation and spacing.

Knows characters alone; no tokenizer and no model.
"""

from __future__ import annotations

import re
import unicodedata

# Scripts without spaces between words: every character counts as one.
_UNSPACED = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]"
_WORD = re.compile(rf"{_UNSPACED}|(?:(?!{_UNSPACED})[^\W_])+(?:'(?:(?!{_UNSPACED})[^\W_])+)*")
_SPELT = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_ENDS = re.compile(r"(?<=[.!?:;。！？：；\n])\s+|\n+|(?<=[。！？：；])")
# Not after the initial of a name, nor after a common abbreviation.
_STOPS = re.compile(
    r"(?<![A-Z]\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)(?<=[.!?])[\"'”’)]*\s+|(?<=[。！？])|\n+"
)
_NAMES = re.compile(r"\d|\s[^\W\da-z_]")  # a number, or a capital that begins no sentence
SHORTEST = 3  # words of a clause that is a question of its own
MOST_WORDS = 400  # of a text that are compared, its last ones
MOST_VIEWS = 12


def words(text: str) -> list[str]:
    """Return the words of a text in order: case folded, without punctuation and possessive endings."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return [word.removesuffix("'s") for word in _WORD.findall(folded)[-MOST_WORDS:]]


def proper_words(text: str) -> frozenset[str]:
    """Return the words that name something by how they are written: with a digit, or a capital inside a sentence."""
    found = [word for word in words(text) if any(char.isdigit() for char in word)]
    for clause in _ENDS.split(unicodedata.normalize("NFKC", text)):
        written = _SPELT.findall(clause.replace("’", "'"))[1:]
        found += [word.casefold().removesuffix("'s") for word in written if word[0].isupper()]
    return frozenset(found)


def current_sentence(text: str) -> str:
    """Return the sentence that a text is in the middle of, or nothing after its end.

    With the sentence before it, if it names nothing itself: "It is" alone does not tell what it is about.
    """
    parts = [part for part in _STOPS.split(text.lstrip()) if part]
    if not parts or _STOPS.search(text[-2:] + " "):
        return ""
    last = parts[-1] if _NAMES.search(parts[-1]) else text[text.rfind(parts[-2]) :] if len(parts) > 1 else parts[-1]
    return last.strip()


def views(text: str) -> list[str]:
    """Return the text and each of its sentences and clauses that may be a question: after ".", "?", "!", ":" or ";"."""
    parts = [part.strip() for part in _ENDS.split(text) if part.strip()]
    asked = [part for part in parts if len(words(part)) >= SHORTEST] if len(parts) > 1 else []
    return list(dict.fromkeys([text.strip(), *asked[-MOST_VIEWS:]]))
