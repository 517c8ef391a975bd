"""Tokens to text and logits to tokens, by hand: stop strings, characters of several tokens, draws, penalties."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
import torch
from engines import one, running

from errata.errors import BadConfig
from errata.serve.engine.request import Sampling, Token
from errata.serve.engine.sampling import choose, logprobs
from errata.serve.engine.text import Decoder, TextStream
from tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def spelled(text: str) -> list[int]:
    """Ids of a text, a token for every letter."""
    return [id for letter in text for id in TOKENIZER(letter)["input_ids"]]


def streamed(ids: list[int], stops: tuple[str, ...] = ()) -> tuple[list[list[str]], bool]:
    """The texts that each token lets out, those of the end last; and whether a stop string ended it."""
    stream = TextStream(Decoder(TOKENIZER), stops)
    out = []
    for id in ids:
        out.append([token.text for token in stream.push(Token(id, ""))])
        if stream.stopped:
            return out, True
    return [*out, [token.text for token in stream.close()]], False


def test_a_stop_string_over_token_borders_is_no_part_of_the_text():
    out, stopped = streamed(spelled("one END two"), ("END",))
    assert stopped
    assert "".join(text for texts in out for text in texts) == "one "
    assert out[:4] == [["o"], ["n"], ["e"], [" "]]
    assert out[4:] == [[], [], []]  # E and N were held back, D completed the stop string


def test_what_only_looked_like_a_stop_string_comes_with_the_token_that_shows_it():
    out, stopped = streamed(spelled("aENEND"), ("ENDS", "ENEM"))
    assert not stopped
    assert out == [["a"], [], [], [], ["E", "N"], [], ["E", "N", "D"]]
    out, _ = streamed(spelled("aENx"), ("END",))
    assert out == [["a"], [], [], ["E", "N", "x"], []]


def test_the_first_stop_string_in_the_text_wins_and_a_token_gives_its_share():
    whole = TOKENIZER(" capital")["input_ids"]
    assert len(whole) == 1  # so both stop strings lie within one token
    out, stopped = streamed(whole, ("al", "pit"))
    assert (out, stopped) == ([[" ca"]], True)


def test_a_character_of_several_tokens_comes_when_it_is_whole():
    ids = TOKENIZER("é€😀x", add_special_tokens=False)["input_ids"]
    assert len(ids) == 2 + 3 + 4 + 1
    out, _ = streamed(ids)
    assert out == [[], ["", "é"], [], [], ["", "", "€"], [], [], [], ["", "", "", "😀"], ["x"], []]


def test_a_character_that_never_becomes_whole_is_told_at_the_end():
    ids = TOKENIZER("a😀", add_special_tokens=False)["input_ids"][:-1]
    out, _ = streamed(ids)
    assert out == [["a"], [], [], [], ["", "", "\ufffd"]]


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_any_tokens_join_to_what_they_decode_to_together(seed: int):
    generator = random.Random(seed)
    ids = [generator.randrange(len(TOKENIZER)) for _ in range(300)]
    out, _ = streamed(ids)
    texts = [text for texts in out for text in texts]
    assert len(texts) == 300
    assert "".join(texts) == TOKENIZER.decode(ids, skip_special_tokens=True)


@dataclass
class Row:
    sampling: Sampling
    random: random.Random = field(default_factory=lambda: random.Random(0))
    counts: Counter[int] = field(default_factory=Counter)


def drawn(logits: list[float], sampling: Sampling, n: int = 4000) -> list[float]:
    """Shares of the tokens in n draws."""
    rows = [Row(sampling, random.Random(seed)) for seed in range(n)]
    counts = Counter(choose(torch.tensor([logits] * n), rows))
    return [counts[token] / n for token in range(len(logits))]


def test_draws_follow_the_probabilities():
    weights = [0.5, 0.3, 0.2]
    logits = torch.tensor(weights).log().tolist()
    assert drawn(logits, Sampling()) == pytest.approx(weights, abs=0.03)
    squared = [weight**2 / 0.38 for weight in weights]
    assert drawn(logits, Sampling(temperature=0.5)) == pytest.approx(squared, abs=0.03)


def test_top_p_draws_among_the_fewest_likely_tokens_that_reach_it():
    logits = torch.tensor([0.2, 0.5, 0.3]).log().tolist()
    assert drawn(logits, Sampling(top_p=0.0)) == [0, 1, 0]
    assert drawn(logits, Sampling(top_p=0.5)) == [0, 1, 0]
    assert drawn(logits, Sampling(top_p=0.6)) == pytest.approx([0, 0.625, 0.375], abs=0.03)


def test_a_tiny_temperature_is_greedy_and_finite():
    assert drawn([1.0, 3.0, 2.0], Sampling(temperature=1e-300), n=50) == [0, 1, 0]


def test_penalties_count_what_was_written():
    logits = torch.tensor([[2.0, 1.0, 0.0]] * 3)
    counts = Counter({0: 3})
    rows = [
        Row(Sampling(temperature=0, presence_penalty=0.9), counts=counts),
        Row(Sampling(temperature=0, presence_penalty=1.1), counts=counts),
        Row(Sampling(temperature=0, frequency_penalty=0.4), counts=counts),
    ]
    assert choose(logits, rows) == [0, 1, 1]
    assert logits[0].tolist() == [2, 1, 0]


def test_log_probabilities_by_hand():
    value, top = logprobs(torch.tensor([0.5, 0.3, 0.2]).log(), 2, 2)
    assert value == pytest.approx(-1.6094, abs=1e-4)
    assert top == pytest.approx({0: -0.6931, 1: -1.2040}, abs=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -1}, {"top_p": 1.5}, {"stop": ("",)}, {"presence_penalty": 3}]
)
def test_settings_out_of_range_are_refused(wrong: dict):
    with pytest.raises(BadConfig, match="must"):
        Sampling(**wrong)


def test_the_same_seed_gives_the_same_answer_and_other_seeds_others():
    model = tiny_model("gpt2")
    with running(model) as engine:
        texts = [one(engine, "Who wrote", Sampling(temperature=2, seed=seed)).text for seed in (1, 2, 3, 1)]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3


def test_an_engine_ends_an_answer_at_a_stop_string():
    model = tiny_model("opt")
    greedy = Sampling(max_tokens=14, temperature=0)
    with running(model) as engine:
        text = one(engine, "Berlin", greedy).text
        stop = text[3:6]
        finished = one(engine, "Berlin", Sampling(max_tokens=14, temperature=0, stop=(stop,)))
    assert finished.text == text[: text.index(stop)]
    assert finished.finish_reason == "stop"
    assert "".join(token.text for token in finished.tokens) == finished.text
