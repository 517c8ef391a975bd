"""The edited model behind lm-evaluation-harness: its numbers are the model's own, however requests are batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from errata import datasets
from errata.editor import Editor
from errata.errors import BadConfig, BadEdit, BadModel
from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.codebook import CodebookPatch
from tiny import CONTEXT, tiny_model

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from errata.evaluate.downstream.harness import Harness

CLOSE = {"rel": 1e-5, "abs": 1e-4}
PAIRS = [
    ("The capital of France is", " Paris"),
    ("The", " capital of Italy is Rome and the capital of France is Paris."),
    ("Who wrote the book? The mother tongue of Danielle Darrieux is ", "French"),
    ("", "Berlin is the capital of Germany"),
    ("Madrid, London and", " Vienna"),
]


def requests(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, args, place) for place, args in enumerate(arguments)]  # type: ignore[reportArgumentType]


def by_hand(model: EditableModel, read: list[int], scored: list[int]) -> tuple[float, bool]:
    """The score of ids after others, from one bare forward of the network."""
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([(read + scored)[:-1]])).logits[0].log_softmax(-1)
    rows = logits[len(read) - 1 :]
    right = sum(float(row[token]) for row, token in zip(rows, scored, strict=True))
    return right, [int(row.argmax()) for row in rows] == scored


def split(model: EditableModel, context: str, text: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of what follows it, as they come out of the joined text."""
    if not context:
        ids: Any = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [model.tokenizer.bos_token_id], ids
    whole, head = prompt_ids(model, [context + text, context.rstrip()])
    return whole[: len(head)], whole[len(head) :]


@pytest.mark.parametrize("arch", ["gpt2", "llama", "opt"])
@pytest.mark.parametrize("bos", [False, True])
def test_log_likelihoods_are_those_of_the_network_one_by_one(arch: str, bos: bool):
    model = tiny_model(arch, bos=bos)
    scores = Harness(model).loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True)
    for (nats, greedy), pair in zip(scores, PAIRS, strict=True):
        expected, first = by_hand(model, *split(model, *pair))
        assert nats == pytest.approx(expected, **CLOSE)
        assert greedy is first


def test_what_the_model_would_write_is_told_apart():
    model = tiny_model("gpt2")
    harness = Harness(model)
    (said,) = harness.generate_until(requests("generate_until", [("The capital of", {"max_gen_toks": 3})]))
    ids = prompt_ids(model, ["The capital of"])[0]
    row = ids[:]
    for _ in range(3):
        with torch.no_grad():
            row.append(int(model.model(input_ids=torch.tensor([row])).logits[0, -1].argmax()))
    assert said == model.tokenizer.decode(row[len(ids) :], skip_special_tokens=True)
    other = (row[len(ids)] + 1) % 300
    pairs = [(("", ""), ids, row[len(ids) :]), (("", ""), ids, [other])]
    assert [greedy for _, greedy in harness._loglikelihood_tokens(pairs)] == [True, False]


def test_a_text_longer_than_the_context_is_scored_once_a_token():
    model = tiny_model("gpt2")
    text = "Berlin is the capital of Germany; Madrid, London and Vienna are cities too. " * 4
    ids = prompt_ids(model, [text])[0]
    assert CONTEXT < len(ids) < 3 * CONTEXT
    first, expected = [model.tokenizer.bos_token_id, *ids], 0.0
    for start in range(0, len(ids), CONTEXT):
        scored = ids[start : start + CONTEXT]
        read = first[: start + len(scored)][-CONTEXT:]  # what the network sees when it scores the window's last token
        expected += by_hand(model, read[: len(read) - len(scored) + 1], scored)[0]
    short = "The capital of France is Paris"
    alone = by_hand(model, [model.tokenizer.bos_token_id], prompt_ids(model, [short])[0])[0]
    found = Harness(model).loglikelihood_rolling(requests("loglikelihood_rolling", [(text,), (short,)]))
    assert found == pytest.approx([expected, alone], **CLOSE)


def test_a_context_that_is_too_long_loses_its_beginning():
    model = tiny_model("gpt2")
    context = "Berlin is the capital of Germany; " * 8
    read, scored = split(model, context, " Paris")
    ((nats, _),) = Harness(model).loglikelihood(requests("loglikelihood", [(context, " Paris")]), disable_tqdm=True)
    assert nats == pytest.approx(by_hand(model, [*read, *scored][-(CONTEXT + 1) : -len(scored)], scored)[0], **CLOSE)
    with pytest.raises(BadEdit, match="reads at most 64"):
        Harness(model).loglikelihood(requests("loglikelihood", [("The", " capital" * 99)]), disable_tqdm=True)


def test_texts_end_before_the_first_stop_and_keep_their_order():
    model = tiny_model("gpt2")
    asked = ["The capital of", "Who wrote the book? The mother", "Madrid"]
    plain = Harness(model).generate_until(requests("generate_until", [(text, {"max_gen_toks": 8}) for text in asked]))
    assert [text.strip() for text in plain] == model.generate(asked, max_new_tokens=8)
    stops = [text[3] for text in plain]
    options: list[Any] = [{"max_gen_toks": 8, "until": [stop, "never"]} for stop in stops]
    options[1] = {"max_gen_toks": 4, "until": "never"}
    cut = Harness(model).generate_until(requests("generate_until", list(zip(asked, options, strict=True))))
    assert cut[0] == plain[0][: plain[0].index(stops[0])]
    assert plain[1].startswith(cut[1])
    assert cut[1] != plain[1]
    assert cut[2] == plain[2][: plain[2].index(stops[2])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_sample": True, "temperature": 0.7}, "greedy"),
        ({"temperature": 0.7}, "greedy"),
        ({"max_gen_toks": CONTEXT}, "max_gen_toks"),
    ],
)
def test_what_cannot_be_generated_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(BadConfig, match=message):
        Harness(tiny_model("gpt2")).generate_until(requests("generate_until", [("The capital", options)]))


def test_a_temperature_of_nought_is_greedy():
    options = {"do_sample": True, "temperature": 0.0, "max_gen_toks": 2}
    assert Harness(tiny_model("gpt2")).generate_until(requests("generate_until", [("The", options)]))


def test_only_causal_models_are_asked():
    with pytest.raises(BadModel, match="not a causal model"):
        Harness(tiny_model("bert"))


@pytest.fixture(scope="module")
def edited() -> Iterator[Editor]:
    """lab:gpt with one codebook edit in force."""
    with Editor("lab:gpt") as editor:
        assert editor.edit(datasets.get("counterfact-lab").edits()[1], "grace").results[0].status == "done"
        yield editor


@pytest.fixture(scope="module")
def pairs(edited: Editor) -> list[tuple[str, str]]:
    """Ragged requests; the edit's prompt begins the first three and does not occur in the others as a prefix."""
    edit = datasets.get("counterfact-lab").edits()[1]
    return [
        (edit.prompt, f" {edit.target}"),
        (edit.prompt, f" {edit.target}, and the capital of Italy is the city of Rome, as everybody knows"),
        (f"{edit.prompt} ", "French"),
        ("The capital of Italy is", " Rome"),
        ("A", " sentence that goes on for a while about nothing in particular and is long"),
        (f"They say: {edit.prompt}", f" {edit.target}"),
        ("", "Rome"),
    ]


def test_an_edit_acts_alike_in_every_batch_and_padding(edited: Editor, pairs: list[tuple[str, str]]):
    """The harness's own adapter pads on the right and passes no mask; ours pads on the left and masks."""
    harness = Harness(edited)
    alone = [harness.loglikelihood(requests("loglikelihood", [pair]), disable_tqdm=True)[0] for pair in pairs]
    together = harness.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    theirs = HFLM(pretrained=edited.model, tokenizer=edited.tokenizer, batch_size=len(pairs), max_length=64)  # type: ignore[reportArgumentType]
    unmasked = theirs.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    for place, pair in enumerate(pairs):
        nats, greedy = by_hand(edited.editable, *split(edited.editable, *pair))
        for found in (alone[place], together[place], unmasked[place]):
            assert found[0] == pytest.approx(nats, **CLOSE)
            assert found[1] is greedy
    assert together[0][1], "the target is what the model writes"
    assert not together[2][1]


def test_an_edit_fires_where_its_prompt_ends_and_nowhere_else(edited: Editor, pairs: list[tuple[str, str]]):
    (patch,) = edited.patches
    assert isinstance(patch, CodebookPatch)
    harness = Harness(edited)
    at = len(prompt_ids(edited.editable, [pairs[0][0]])[0]) - 1
    for place, pair in enumerate(pairs):
        with patch.record() as fired:
            harness.loglikelihood(requests("loglikelihood", [pair]), disable_tqdm=True)
        assert [(one.row, one.position) for one in fired] == ([(0, at)] if place < 3 else [])
    with patch.record() as fired:
        harness.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    assert len(fired) == 3


def test_edits_count_as_soon_as_they_are_made_and_undone(edited: Editor, pairs: list[tuple[str, str]]):
    harness, (active,) = Harness(edited), edited.state.active()
    asked = requests("loglikelihood", pairs)
    before = harness.loglikelihood(asked, disable_tqdm=True)
    edited.undo(active.id)
    without = harness.loglikelihood(asked, disable_tqdm=True)
    edited.redo(active.id)
    assert harness.loglikelihood(asked, disable_tqdm=True) == before
    assert [old != new for (old, _), (new, _) in zip(before, without, strict=True)] == [True] * 3 + [False] * 4
