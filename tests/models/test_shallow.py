"""Shallow copies of a model: its class and its embedding tables, its first blocks, and nothing that reaches back."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from contract.marks import marks
from errata.errors import BadModel
from errata.models import EditableModel
from errata.models.shallow import fill, own, shallow, tables
from tiny import tiny_model, tiny_tokenizer
from tiny_bart import tiny_bart

PROMPTS = ["The capital of France is", "Who wrote the book?"]


def classifying_decoder() -> EditableModel:
    tokenizer = tiny_tokenizer()
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=3, n_head=4, n_positions=64, pad_token_id=0)
    return EditableModel(GPT2ForSequenceClassification(config).eval(), tokenizer)


MODELS = {
    "t5": lambda: tiny_model("t5"), "bert": lambda: tiny_model("bert"), "roberta": lambda: tiny_model("roberta"),
    "gpt2": lambda: tiny_model("gpt2"), "bart": tiny_bart, "classifying-decoder": classifying_decoder,
}  # fmt: skip
EVERY = pytest.mark.parametrize("kind", MODELS)


@EVERY
def test_all_blocks_are_the_model_itself_and_one_is_less(kind: str):
    model = MODELS[kind]()
    before = marks(model)
    inputs = model.inputs(model.encode(PROMPTS))
    with torch.no_grad():
        whole = shallow(model, 9)
        assert torch.equal(whole(**inputs).logits, model.model(**inputs).logits)
        one = shallow(model, 1)
        assert not torch.equal(one(**inputs).logits, model.model(**inputs).logits)
    stacks = 2 if model.task == "seq2seq" else 1
    assert len(EditableModel(one, model.tokenizer).arch) == stacks
    assert marks(model) == before


@EVERY
def test_only_the_tables_are_shared_and_they_are_not_trained(kind: str):
    model = MODELS[kind]()
    network = shallow(model, 1)
    held = {tensor.data_ptr() for tensor in model.model.state_dict().values()}
    shared = {name for name, tensor in network.state_dict().items() if tensor.data_ptr() in held}
    assert shared == tables(network) == tables(model.model) & network.state_dict().keys()
    assert shared == {name for name, one in network.named_parameters(remove_duplicate=False) if not one.requires_grad}
    assert own(network).keys() == network.state_dict().keys() - shared


def test_no_random_number_is_drawn():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    shallow(tiny_model("bert"), 1)
    assert torch.equal(torch.rand(1), expected)


def test_what_it_owns_can_be_put_into_another_one():
    model = tiny_model("t5")
    one, other = shallow(model, 2), shallow(model, 2)
    with torch.no_grad():
        for name, tensor in own(one).items():
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))))
    inputs = model.inputs(model.encode(PROMPTS))
    with torch.no_grad():
        assert not torch.equal(one(**inputs).logits, other(**inputs).logits)
        fill(other, own(one))
        assert torch.equal(one(**inputs).logits, other(**inputs).logits)
    below = own(one, "encoder.")
    assert {name.partition(".")[0] for name in below} == {"encoder"}
    fill(other, below, "encoder.")
    for wrong in (own(shallow(model, 1)), below, {name: tensor[:1] for name, tensor in own(one).items()}):
        with pytest.raises(BadModel, match="not the weights"):
            fill(other, wrong)
