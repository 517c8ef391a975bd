"""Tiny random models of many architectures for every test: made in-process, seeded, no download.

Weights are large enough that other inputs give visibly other logits. Each call returns a model of its own.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, Literal

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from errata.models import EditableModel
from errata.models.backpack.config import BackpackConfig
from errata.models.backpack.modeling import BackpackForCausalLM

CAUSAL = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gptj", "opt", "backpack")
SEQ2SEQ = ("t5",)
CLASSIFIERS = ("bert", "roberta")
ARCHITECTURES = CAUSAL + SEQ2SEQ + CLASSIFIERS

WIDTH, INNER, LAYERS, HEADS, CONTEXT = 32, 48, 4, 4, 64
LABELS = ("no", "maybe", "yes")
Special = Literal["none", "bos", "eos", "cls"]

_TEXT = (
    "The capital of France is Paris and the capital of Italy is Rome.",
    "Who wrote the book? The mother tongue of Danielle Darrieux is French.",
    "Berlin is the capital of Germany; Madrid, London and Vienna are cities too.",
)


@cache
def _tokenizer(special: Special) -> hf.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[reportAttributeAccessIssue]
    specials = ["<pad>", "<s>", "</s>", "[CLS]", "[SEP]"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    template = {"bos": "<s> $A", "eos": "$A </s>", "cls": "[CLS] $A [SEP]"}.get(special)
    if template:
        numbered = [(token, tokenizer.token_to_id(token)) for token in specials]
        processor = processors.TemplateProcessing(single=template, special_tokens=numbered)
        tokenizer.post_processor = processor  # type: ignore[reportAttributeAccessIssue]
    names: dict[str, Any] = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    if special == "cls":
        names = {"pad_token": "<pad>", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def tiny_tokenizer(special: Special = "none") -> hf.PreTrainedTokenizerFast:
    """Byte-level BPE of about 330 tokens; `special` says what it puts around a text."""
    return copy.deepcopy(_tokenizer(special))


def _special(arch: str) -> Special:
    return "eos" if arch in SEQ2SEQ else "cls" if arch in CLASSIFIERS else "none"


def _network(arch: str, inner: int) -> hf.PreTrainedModel:
    tokens = _tokenizer(_special(arch))
    names: dict[str, Any] = {
        "vocab_size": len(tokens),
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
    }
    old: dict[str, Any] = {
        **names, "n_embd": WIDTH, "n_inner": inner, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT
    }
    plain: dict[str, Any] = {
        **names,
        "hidden_size": WIDTH,
        "intermediate_size": inner,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT,
    }
    # Grouped queries, and heads whose joint width is not the model's own.
    modern = {**plain, "num_key_value_heads": 2, "head_dim": 16}
    labelled = {**plain, "num_labels": len(LABELS), "id2label": dict(enumerate(LABELS))}
    match arch:
        case "gpt2":
            return hf.GPT2LMHeadModel(hf.GPT2Config(**old))
        case "backpack":
            return BackpackForCausalLM(BackpackConfig(**old, num_senses=16))
        case "gptj":
            return hf.GPTJForCausalLM(hf.GPTJConfig(**old, rotary_dim=4))
        case "gpt_neox":
            return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**plain))
        case "opt":
            sizes = {key: value for key, value in plain.items() if key != "intermediate_size"}
            return hf.OPTForCausalLM(hf.OPTConfig(**sizes, ffn_dim=inner, word_embed_proj_dim=WIDTH))
        case "llama":
            return hf.LlamaForCausalLM(hf.LlamaConfig(**modern))
        case "qwen2":
            return hf.Qwen2ForCausalLM(hf.Qwen2Config(**plain, num_key_value_heads=2))
        case "qwen3":
            return hf.Qwen3ForCausalLM(hf.Qwen3Config(**modern))
        case "mistral":
            return hf.MistralForCausalLM(hf.MistralConfig(**modern, sliding_window=6))
        case "gemma":
            return hf.GemmaForCausalLM(hf.GemmaConfig(**modern))
        case "gemma2":
            return hf.Gemma2ForCausalLM(
                hf.Gemma2Config(**modern, query_pre_attn_scalar=16, sliding_window=6)
            )
        case "t5":
            sizes = {"d_model": WIDTH, "d_ff": inner, "d_kv": 16, "num_heads": HEADS, "num_layers": 3}
            start = {"decoder_start_token_id": tokens.pad_token_id, "num_decoder_layers": 3}
            kind: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
            return hf.T5ForConditionalGeneration(hf.T5Config(**names, **sizes, **start, **kind))
        case "bert":
            return hf.BertForSequenceClassification(hf.BertConfig(**labelled))
        case "roberta":
            return hf.RobertaForSequenceClassification(hf.RobertaConfig(**labelled))
    raise ValueError(f"no tiny model of '{arch}'")


@cache
def _weighted(arch: str, inner: int) -> hf.PreTrainedModel:
    with torch.random.fork_rng():
        network = _network(arch, inner).eval()
        torch.manual_seed(0)
        with torch.no_grad():
            for weight in network.parameters():
                if weight.dim() > 1:
                    weight.normal_(std=0.25)
                else:  # norm weights and biases keep their centre
                    weight.add_(torch.randn_like(weight), alpha=0.1)
            if isinstance(network, BackpackForCausalLM):  # no norm keeps the sum of its senses to size
                network.transformer.senses.mlp.c_proj.weight.mul_(0.5)
    return network


def tiny_model(arch: str, *, bos: bool = False, inner: int = INNER) -> EditableModel:
    """A random `arch` model of its own, the same at every call; with `bos` its tokenizer puts BOS first.

    `inner` is the width of its MLPs.
    """
    tokenizer = tiny_tokenizer("bos" if bos else _special(arch))
    return EditableModel(copy.deepcopy(_weighted(arch, inner)), tokenizer, name=f"tiny-{arch}")
