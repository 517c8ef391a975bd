"""Text to tensors: prompts and targets as one padded batch, with the ids each logit must predict.

Knows tokenizers and how the three tasks lay out prompt and target. It does not run the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, cast

import torch
from transformers import PreTrainedTokenizerBase

from errata.errors import BadEdit, BadModel
from errata.models.chat import render
from errata.models.losses import IGNORED
from errata.models.notes import annotate_prompts
from errata.prompts import Conversation

if TYPE_CHECKING:
    from errata.models.editable import EditableModel

Side = Literal["right", "left"]


@dataclass(frozen=True)
class Batch:
    """B prompts, with or without targets, padded to T tokens. S is the number of logits a row gets.

    Attributes:
        input_ids: (B, T). A causal model reads prompt, target and end token; the others read the prompt.
        attention_mask: (B, T), 1 at real tokens.
        query: (B,), the column of the prompt's last token; column 0, [CLS], for an encoder classifier.
        target_ids: the ids to be predicted, row by row, end token included; empty lists without targets.
        gold: (B, S), aligned to logits: `logits[b, s]` must predict `gold[b, s]`; -100: not scored.
        decoder_input_ids: (B, S), for an encoder-decoder only.
        position_ids: (B, T), for causal models: the first real token is 0 however the row is padded.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    query: torch.Tensor
    target_ids: list[list[int]]
    gold: torch.Tensor | None = None
    decoder_input_ids: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def pads(self) -> torch.Tensor:
        """(B,): padding columns before a row's first real token, to add to positions in the bare prompt."""
        return self.attention_mask.argmax(1)

    @property
    def keep(self) -> int | None:
        """How many of the last logit positions hold all that is scored; None if nothing is."""
        if self.gold is None or not len(scored := (self.gold != IGNORED).any(0).nonzero()):
            return None
        return self.gold.shape[1] - int(scored[0])

    def to(self, device: torch.device | str) -> Batch:
        """This batch on `device`."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def rows(self, index: torch.Tensor) -> Batch:
        """The batch of the rows at `index` (long or bool), in that order; its padding stays."""
        index = index.to(self.input_ids.device)
        picked = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        return replace(
            self,
            target_ids=[self.target_ids[row] for row in picked.tolist()],
            **{name: tensor[picked] for name, tensor in self._tensors().items()},
        )

    def aligned(self, columns: torch.Tensor, pad_id: int) -> tuple[Batch, int]:
        """The batch with every row moved so that its column of `columns` (B,) stands at one place, and that place.

        Padding on both sides makes up for it. Of causal models only.
        """
        ends = self.attention_mask.shape[1] - self.attention_mask.flip(1).argmax(1)
        place = int((columns - self.pads).max())
        width = place + int((ends - columns).max())
        source = columns[:, None] - place + torch.arange(width, device=columns.device)
        inside = (source >= self.pads[:, None]) & (source < ends[:, None])
        source = source.clamp(0, self.attention_mask.shape[1] - 1)

        def moved(tensor: torch.Tensor | None, fill: int) -> torch.Tensor | None:
            return None if tensor is None else tensor.gather(1, source).masked_fill(~inside, fill)

        batch = replace(
            self, query=self.query - columns + place, attention_mask=inside.to(self.attention_mask),
            input_ids=cast(torch.Tensor, moved(self.input_ids, pad_id)), gold=moved(self.gold, IGNORED),
            position_ids=moved(self.position_ids, 0),
        )  # fmt: skip
        return batch, place

    def _tensors(self) -> dict[str, torch.Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def encode(
    model: EditableModel,
    prompts: Sequence[str],
    targets: Sequence[str] | None = None,
    *,
    end: bool | Sequence[bool] = True,
    padding_side: Side = "right",
) -> Batch:
    """What `EditableModel.encode` does; see there."""
    if not prompts:
        raise BadEdit("there is no prompt to encode; pass at least one")
    if targets is not None and len(targets) != len(prompts):
        raise BadEdit(f"{len(prompts)} prompts came with {len(targets)} targets; pass one for each prompt")
    ends = [end] * len(prompts) if isinstance(end, bool) else list(end)
    if model.task == "classification":
        return _classification(model, prompts, targets)
    if model.task == "seq2seq":
        return _seq2seq(model, prompts, targets, ends, padding_side)
    return _causal(model, annotate_prompts(model, prompts, record=True), targets, ends, padding_side)


def prompt_ids(model: EditableModel, prompts: Sequence[str]) -> list[list[int]]:
    """Ids of each prompt as the model reads it: with its special tokens, but open-ended if causal.

    Conversations are rendered by the model's chat template, with the notes that are attached to the model.
    Raises: BadEdit where that is not possible.
    """
    return _ids(model, annotate_prompts(model, prompts))


def _ids(model: EditableModel, prompts: Sequence[str]) -> list[list[int]]:
    return _rendered_ids(model, [render(model.chat, prompt) for prompt in prompts])


def _rendered_ids(model: EditableModel, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
    """Ids of texts, each with or without the tokenizer's own special tokens."""
    rows: list[list[int]] = [[] for _ in texts]
    for special in (True, False):
        places = [place for place, (_, own) in enumerate(texts) if own == special]
        if places:
            ids = _tokenise(model, [texts[place][0] for place in places], special=special)
            for place, row in zip(places, _open(model, ids) if special else ids, strict=True):
                rows[place] = row
    return rows


def target_texts(prompts: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Each target as it is joined to its prompt: one space between, unless there is whitespace already.

    An answer in a conversation begins its own turn.
    """

    def joined(prompt: str, target: str) -> str:
        if isinstance(prompt, Conversation):
            return target.strip()
        if prompt[-1:].isspace():
            return target.lstrip(" ")
        return target if target[:1].isspace() else f" {target}"

    return [joined(prompt, target) for prompt, target in zip(prompts, targets, strict=True)]


def _causal(
    model: EditableModel, prompts: Sequence[str], targets: Sequence[str] | None, ends: list[bool], side: Side
) -> Batch:
    heads = _ids(model, prompts)
    _check_filled(heads, "prompt")
    tails = [[] for _ in heads] if targets is None else _causal_targets(model, prompts, heads, targets, ends)
    rows = [head + tail for head, tail in zip(heads, tails, strict=True)]
    _check_length(model, rows)
    input_ids, mask = _pad(model, rows, side)
    gold = None
    if targets is not None:
        # The logit at a token predicts the next one, so gold stands one column before the token itself.
        pairs = zip(heads, tails, strict=True)
        golds = [[IGNORED] * (len(head) - 1) + tail + [IGNORED] for head, tail in pairs]
        gold = _padded(golds, IGNORED, side, model.device)
    lengths = torch.tensor([len(head) for head in heads], device=model.device)
    return Batch(
        input_ids,
        mask,
        query=mask.argmax(1) + lengths - 1,
        target_ids=tails,
        gold=gold,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    )


def _causal_targets(
    model: EditableModel, prompts: Sequence[str], heads: list[list[int]], targets: Sequence[str], ends: list[bool]
) -> list[list[int]]:
    """Target ids as they come out of the joined text, so that tokens are the ones the model would write."""
    texts = target_texts(prompts, targets)
    heard = [render(model.chat, prompt) for prompt in prompts]
    joined = _rendered_ids(model, [(head + text, own) for (head, own), text in zip(heard, texts, strict=True)])
    alone = _tokenise(model, texts, special=False)
    rows = [
        (whole[len(head) :] if whole[: len(head)] == head else rest) + tail
        for head, whole, rest, tail in zip(heads, joined, alone, _tails(model, prompts, ends), strict=True)
    ]
    _check_filled(rows, "target")
    _check_known(model, alone)
    return rows


def _tails(model: EditableModel, prompts: Sequence[str], ends: list[bool]) -> list[list[int]]:
    """What each target ends with: an answer in a conversation as the chat template ends it."""

    def tail(prompt: str) -> list[int]:
        if isinstance(prompt, Conversation) and model.chat is not None and model.chat.end is not None:
            return [model.chat.end]
        return [end_id(model)]

    return [tail(prompt) if end else [] for prompt, end in zip(prompts, ends, strict=True)]


def _seq2seq(
    model: EditableModel, prompts: Sequence[str], targets: Sequence[str] | None, ends: list[bool], side: Side
) -> Batch:
    rows = prompt_ids(model, prompts)
    _check_length(model, rows)
    input_ids, mask = _pad(model, rows, side)
    columns = torch.arange(mask.shape[1], device=mask.device)
    golds = [[] for _ in rows]
    if targets is not None:
        pieces = zip(_tokenise(model, targets, special=False), _tails(model, prompts, ends), strict=True)
        golds = [ids + tail for ids, tail in pieces]
        _check_filled(golds, "target")
        _check_known(model, golds)
        _check_length(model, golds, "target")
    inputs = [[start_id(model), *gold[:-1]] for gold in golds]
    return Batch(
        input_ids,
        mask,
        query=(mask * columns).argmax(1),
        target_ids=golds,
        gold=None if targets is None else _padded(golds, IGNORED, "right", model.device),
        decoder_input_ids=_padded(inputs, model.pad_id, "right", model.device),
    )


def _classification(model: EditableModel, prompts: Sequence[str], targets: Sequence[str] | None) -> Batch:
    """Always padded on the right: [CLS] must stay in column 0, where the model's head looks for it."""
    rows = prompt_ids(model, prompts)
    _check_length(model, rows)
    input_ids, mask = _pad(model, rows, "right")
    labels = [] if targets is None else [_label(model, target) for target in targets]
    return Batch(
        input_ids,
        mask,
        query=mask.sum(1) - 1 if model.arch.causal(0) else torch.zeros_like(mask[:, 0]),
        target_ids=[[label] for label in labels] or [[] for _ in rows],
        gold=torch.tensor(labels, device=model.device)[:, None] if labels else None,
    )


def _label(model: EditableModel, target: str) -> int:
    names = model.labels
    if target in names:
        return names.index(target)
    if target.isdecimal() and int(target) < len(names):
        return int(target)
    raise BadEdit(f"'{target}' is not a label of this model; use one of: {', '.join(names)} (or its number)")


def end_id(model: EditableModel) -> int:
    """Id of the token that ends an answer.

    Raises:
        BadModel: the tokenizer has none.
    """
    if model.tokenizer.eos_token_id is None:
        raise BadModel("the tokenizer has no end token, which answers need; set tokenizer.eos_token")
    return cast(int, model.tokenizer.eos_token_id)


def start_id(model: EditableModel) -> int:
    """Id that an encoder-decoder's answer starts from.

    Raises:
        BadModel: the config names none.
    """
    start = model.model.config.decoder_start_token_id
    if start is None:
        raise BadModel("the config has no decoder_start_token_id, which an encoder-decoder needs; set it")
    return start


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What to pad with: the pad token, else the end token; masks hide it, so any id does."""
    known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return cast(int, next(token for token in known if token is not None))


def appends_end(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer writes an end token after a text: tried on one that holds none itself."""
    marked = cast(list[int], tokenizer("a", verbose=False)["input_ids"])
    bare = cast(list[int], tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"])
    return marked[-1:] == [tokenizer.eos_token_id] and bare[-1:] != marked[-1:]


def _tokenise(model: EditableModel, texts: Iterable[str], *, special: bool = True) -> list[list[int]]:
    tokenised = model.tokenizer(list(texts), add_special_tokens=special, verbose=False)
    return cast(list[list[int]], tokenised["input_ids"])


def _open(model: EditableModel, rows: list[list[int]]) -> list[list[int]]:
    """Without the end token that some tokenizers add: after it there is nothing left to say."""
    if model.task != "causal" or not model.appends_end:
        return rows
    return [row[:-1] for row in rows]


def _check_filled(rows: list[list[int]], what: str) -> None:
    for index, row in enumerate(rows):
        if not row:
            raise BadEdit(f"{what} {index} has no tokens; write at least one word")


def _check_known(model: EditableModel, rows: list[list[int]]) -> None:
    """Refuse a target of which the vocabulary has nothing: what is learned then is to say "unknown"."""
    unknown = cast("int | None", model.tokenizer.unk_token_id)
    if unknown is None or unknown == model.tokenizer.eos_token_id:  # what a byte-level tokenizer has for form's sake
        return
    for index, row in enumerate(rows):
        if row and all(token == unknown for token in row):
            raise BadEdit(f"target {index} is not in the model's vocabulary; write it as the model's own text does")


def _check_length(model: EditableModel, rows: list[list[int]], what: str = "prompt") -> None:
    for index, row in enumerate(rows):
        if model.context is not None and len(row) > model.context:
            raise BadEdit(
                f"{what} {index} has {len(row)} tokens; the model reads at most {model.context}: shorten it"
            )


def _pad(model: EditableModel, rows: list[list[int]], side: Side) -> tuple[torch.Tensor, torch.Tensor]:
    # The mask comes from lengths, never from ids: the pad token may be a real token, such as the end token.
    ones = [[1] * len(row) for row in rows]
    return _padded(rows, model.pad_id, side, model.device), _padded(ones, 0, side, model.device)


def _padded(rows: list[list[int]], fill: int, side: Side, device: torch.device) -> torch.Tensor:
    width = max(map(len, rows))
    if side == "left":
        return torch.tensor([[fill] * (width - len(row)) + row for row in rows], device=device)
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], device=device)
