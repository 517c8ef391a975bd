"""Batches: what is read, what must be predicted, and where."""

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from errata.errors import BadEdit, BadModel
from errata.models import Batch, EditableModel
from tiny import CAUSAL, CLASSIFIERS, tiny_model, tiny_tokenizer

PROMPTS = ["The capital of France is", "Who wrote"]
TARGETS = ["Paris", "London"]


def gpt2(special: str = "none") -> EditableModel:
    return EditableModel(tiny_model("gpt2").model, tiny_tokenizer(special))  # type: ignore[arg-type]


def scored(batch: Batch) -> list[list[int]]:
    assert batch.gold is not None
    return [row[row != -100].tolist() for row in batch.gold]


@pytest.mark.parametrize("side", ["right", "left"])
def test_gold_is_the_next_input_of_a_causal_model(side: str) -> None:
    model = gpt2()
    batch = model.encode(PROMPTS, TARGETS, padding_side=side)  # type: ignore[arg-type]
    assert batch.gold is not None
    assert batch.position_ids is not None
    assert scored(batch) == batch.target_ids
    assert bool(batch.pads.any()) == (side == "left")
    for row in range(2):
        columns = (batch.gold[row] != -100).nonzero()[:, 0]
        assert columns[0] == batch.query[row]
        assert batch.gold[row, columns].tolist() == batch.input_ids[row, columns + 1].tolist()
        real = batch.attention_mask[row].bool()
        assert batch.position_ids[row, real].tolist() == list(range(int(real.sum())))
        assert batch.pads[row] == real.nonzero()[0]
        text = model.tokenizer.decode(batch.input_ids[row, real])
        assert text == f"{PROMPTS[row]} {TARGETS[row]}</s>"


def test_end_token_is_optional() -> None:
    model = gpt2()
    ends = [ids[-1] for ids in model.encode(PROMPTS, TARGETS).target_ids]
    assert ends == [model.tokenizer.eos_token_id] * 2
    without = model.encode(PROMPTS, TARGETS, end=False)
    assert [[*ids, ends[0]] for ids in without.target_ids] == model.encode(PROMPTS, TARGETS).target_ids


@pytest.mark.parametrize(
    ("prompt", "target", "text"),
    [
        ("Rome is", "Italy", "Rome is Italy"),
        ("Rome is", " Italy", "Rome is Italy"),
        ("Rome is ", "Italy", "Rome is Italy"),
        ("Rome is ", " Italy", "Rome is Italy"),
        ("Rome is\n", "Italy", "Rome is\nItaly"),
        ("Rome is", "\nItaly", "Rome is\nItaly"),
    ],
)
def test_never_two_spaces_never_none(prompt: str, target: str, text: str) -> None:
    model = gpt2()
    batch = model.encode([prompt], [target], end=False)
    assert model.tokenizer.decode(batch.input_ids[0]) == text
    assert batch.query[0] == len(model.tokenizer(prompt)["input_ids"]) - 1


def test_space_is_part_of_the_first_target_token() -> None:
    """The id that the model itself would write, not that of the bare word."""
    model = gpt2()
    joined = model.tokenizer(" is")["input_ids"]
    assert len(joined) == 1
    assert model.encode(["Rome"], ["is"], end=False).target_ids == [joined]


def test_target_ids_come_from_the_joined_text() -> None:
    """SentencePiece-like tokenizers put a space of their own before a text, so a target alone would get two."""
    ids = {"▁Rome": 0, "▁is": 1, "▁Italy": 2, "▁": 3, "?": 4}
    tokens = Tokenizer(models.WordLevel(ids, unk_token="?"))
    tokens.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])  # type: ignore[reportAttributeAccessIssue]
    tokens.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # type: ignore[reportAttributeAccessIssue]
    model = EditableModel(tiny_model("gpt2").model, PreTrainedTokenizerFast(tokenizer_object=tokens))
    assert model.encode([" Italy"]).input_ids.tolist() == [[3, 2]]
    batch = model.encode(["Rome is"], ["Italy"], end=False)
    assert batch.input_ids.tolist() == [[0, 1, 2]]
    assert batch.target_ids == [[2]]


def test_special_tokens_at_both_ends() -> None:
    plain, bos, eos = gpt2(), gpt2("bos"), gpt2("eos")
    wanted = plain.encode(PROMPTS, TARGETS)
    started, ended = bos.encode(PROMPTS, TARGETS), eos.encode(PROMPTS, TARGETS)
    assert started.target_ids == ended.target_ids == wanted.target_ids
    assert started.input_ids[:, 0].tolist() == [bos.tokenizer.bos_token_id] * 2
    assert started.query.tolist() == [column + 1 for column in wanted.query.tolist()]
    assert torch.equal(ended.input_ids, wanted.input_ids)
    assert eos.encode(PROMPTS).input_ids[0, -1] != eos.tokenizer.eos_token_id


def test_padding_with_the_end_token_changes_nothing() -> None:
    model, bare = gpt2(), gpt2()
    bare.tokenizer.pad_token = None
    bare = EditableModel(bare.model, bare.tokenizer)
    assert bare.pad_id == bare.tokenizer.eos_token_id
    batch, other = model.encode(PROMPTS, TARGETS), bare.encode(PROMPTS, TARGETS)
    assert torch.equal(batch.attention_mask, other.attention_mask)
    real = batch.attention_mask.bool()
    torch.testing.assert_close(model.forward(batch)[real], bare.forward(other)[real])


def test_encoder_decoder() -> None:
    model = tiny_model("t5")
    start, end = model.model.config.decoder_start_token_id, model.tokenizer.eos_token_id
    batch = model.encode(PROMPTS, TARGETS)
    assert batch.decoder_input_ids is not None
    assert batch.decoder_input_ids.shape == batch.gold.shape  # type: ignore[union-attr]
    assert scored(batch) == batch.target_ids
    for row, ids in enumerate(batch.target_ids):
        assert ids[-1] == end
        assert batch.decoder_input_ids[row, : len(ids)].tolist() == [start, *ids[:-1]]
        assert batch.input_ids[row, batch.query[row]] == end  # the prompt's own end token, its last
    assert batch.query.tolist() == (batch.attention_mask.sum(1) - 1).tolist()
    left = model.encode(PROMPTS, TARGETS, padding_side="left")
    assert left.query.tolist() == [left.input_ids.shape[1] - 1] * 2
    bare = model.encode(PROMPTS)
    assert bare.gold is None
    assert bare.decoder_input_ids.tolist() == [[start], [start]]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier(name: str) -> None:
    model = tiny_model(name)
    batch = model.encode(PROMPTS, ["yes", "1"], padding_side="left")
    assert batch.gold.tolist() == [[2], [1]]  # type: ignore[union-attr]
    assert batch.query.tolist() == [0, 0]
    assert batch.input_ids[:, 0].tolist() == [model.tokenizer.cls_token_id] * 2
    assert model.forward(batch).shape == (2, 1, 3)
    for wrong in ("perhaps", "3", "-1"):
        with pytest.raises(BadEdit, match=f"'{wrong}' is not a label.*no, maybe, yes"):
            model.encode(["Rome"], [wrong])


def test_too_long_for_the_model() -> None:
    model = tiny_model("gpt2")
    word = model.tokenizer(" is")["input_ids"]
    assert len(word) == 1
    assert model.encode([" is" * 64]).input_ids.shape == (1, 64)
    with pytest.raises(BadEdit, match="prompt 1 has 65 tokens; the model reads at most 64"):
        model.encode(["Rome", " is" * 65])
    with pytest.raises(BadEdit, match="prompt 0 has 65 tokens"):
        model.encode([" is" * 63], ["is"])  # the target and its end are read as well
    assert tiny_model("t5").encode([" is" * 100]).input_ids.shape == (1, 101)
    roberta = tiny_model("roberta")  # its position table starts after the pad token's own entry
    assert roberta.forward(roberta.encode([" is" * 61])).isfinite().all()
    with pytest.raises(BadEdit, match="reads at most 63"):
        roberta.encode([" is" * 62])


def test_what_cannot_be_encoded() -> None:
    model = gpt2()
    with pytest.raises(BadEdit, match="no prompt"):
        model.encode([])
    with pytest.raises(BadEdit, match="2 prompts came with 1 targets"):
        model.encode(PROMPTS, ["Paris"])
    with pytest.raises(BadEdit, match="prompt 1 has no tokens"):
        model.encode(["Rome", ""])
    model.tokenizer.eos_token = None
    with pytest.raises(BadModel, match="no end token"):
        model.encode(PROMPTS, TARGETS)


def test_rows_and_length() -> None:
    model = tiny_model("t5")
    batch = model.encode([*PROMPTS, "Berlin"], [*TARGETS, "Rome"])
    assert len(batch) == 3
    some = batch.rows(torch.tensor([2, 0]))
    assert some.target_ids == [batch.target_ids[2], batch.target_ids[0]]
    for name in ("input_ids", "attention_mask", "query", "gold", "decoder_input_ids"):
        assert torch.equal(getattr(some, name), getattr(batch, name)[[2, 0]])
    by_mask = batch.rows(torch.tensor([True, False, True]))
    assert torch.equal(by_mask.input_ids, batch.input_ids[[0, 2]])
    assert by_mask.target_ids == [batch.target_ids[0], batch.target_ids[2]]
    assert batch.to("meta").input_ids.device.type == "meta"


def test_keep_covers_what_is_scored() -> None:
    model = gpt2()
    left = model.encode(PROMPTS, TARGETS, padding_side="left")
    assert left.keep == max(map(len, left.target_ids)) + 1  # the last column predicts nothing
    right = model.encode(PROMPTS, TARGETS)
    assert right.keep == right.input_ids.shape[1] - int(right.query.min())
    assert model.encode(PROMPTS).keep is None


@pytest.mark.parametrize("name", [*CAUSAL, "t5"])
def test_padding_side_does_not_matter(name: str) -> None:
    model = tiny_model(name)
    right = model.encode(PROMPTS, TARGETS)
    left = model.encode(PROMPTS, TARGETS, padding_side="left")
    with torch.no_grad():
        logits, other = model.forward(right), model.forward(left)
    if model.task == "causal":
        logits, other = logits[right.attention_mask.bool()], other[left.attention_mask.bool()]
    torch.testing.assert_close(logits, other, atol=2e-5, rtol=1e-4)
