"""Few facts and little prose, for runs of recipes: reading all there is is most of a tiny run."""

from __future__ import annotations

from functools import cache

import pytest
from transformers import PreTrainedTokenizerFast

from errata.lab.recipes import corpus, gpt

FACTS = corpus.facts()[:60]
PROSE = corpus.prose("train")[:40_000]
VOCABULARY = 400


def shrink(patch: pytest.MonkeyPatch) -> None:
    """What recipes read through `Corpus`, and the tokenizer that gpt's kind of recipe trains."""
    patch.setattr(corpus, "facts", lambda: FACTS)
    patch.setattr(corpus, "prose", lambda part: PROSE)
    patch.setattr(gpt, "train_tokenizer", lambda vocabulary, context: tokenizer(context))


@cache
def tokenizer(context: int) -> PreTrainedTokenizerFast:
    """Of the small world's words."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return corpus.train_tokenizer(VOCABULARY, context)
