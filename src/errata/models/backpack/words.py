"""Reading sense vectors: the words that each sense of a word speaks for, and those that it speaks against.

Knows a Backpack and its tokenizer. No norm stands between senses and logits, so what a sense adds to the logits is E c.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from errata.errors import BadEdit, BadModel
from errata.models.backpack.modeling import BackpackForCausalLM
from errata.models.editable import EditableModel

Scores = list[tuple[str, float]]


@dataclass(frozen=True)
class Sense:
    """One sense of one token.

    Attributes:
        token: the token's text; `place` is its place among the tokens of the word.
        index: which of its k senses.
        norm: the sense vector's L2 norm.
        top: the tokens to whose logits it adds most, each with what it adds at weight 1, largest first.
        lowest: those to whose logits it adds least, smallest first.
    """

    token: str
    place: int
    index: int
    norm: float
    top: Scores
    lowest: Scores


def backpack_of(model: EditableModel) -> BackpackForCausalLM:
    """The Backpack in `model`.

    Raises:
        BadModel: it is another kind of model.
    """
    if not isinstance(model.model, BackpackForCausalLM):
        raise BadModel(
            f"{model.name} is a {type(model.model).__name__}, whose words have no senses; give a Backpack, such as "
            "stanfordnlp/backpack-gpt2"
        )
    return model.model


@torch.no_grad()
def senses_of(model: EditableModel, word: str, count: int = 10) -> list[Sense]:
    """Every sense of every token of `word`, read as it stands within a text, after a space.

    Raises:
        BadEdit: the word has no tokens.
        BadModel: the model is no Backpack.
    """
    network = backpack_of(model)
    tokenizer = model.tokenizer
    ids = tokenizer(f" {word.strip()}", add_special_tokens=False)["input_ids"] if word.strip() else []
    if not ids:
        raise BadEdit("there is no word to look up; give one, such as France")
    vectors = network.sense_vectors(torch.tensor(ids, device=model.device))
    scores = network.lm_head(vectors)[..., : len(tokenizer)].float()  # rows beyond the vocabulary are padding

    def named(row: torch.Tensor, largest: bool) -> Scores:
        values, tokens = row.topk(min(count, len(row)), largest=largest)
        texts = [str(tokenizer.decode([token])) for token in tokens.tolist()]
        return list(zip(texts, values.tolist(), strict=True))

    return [
        Sense(
            str(tokenizer.decode([token])), place, index, float(vectors[place, index].float().norm()),
            named(scores[place, index], True), named(scores[place, index], False),
        )
        for place, token in enumerate(ids)
        for index in range(vectors.shape[1])
    ]  # fmt: skip
