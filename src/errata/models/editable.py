"""The model being edited: encode, run, decode, and look after it, the same for every task and architecture.

Knows a transformers model and its tokenizer. It knows no method and no patch, and never changes a weight.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from errata.errors import BadConfig, BadModel
from errata.models import decoding, encoding, loading
from errata.models.arch import Arch
from errata.models.chat import ChatFormat
from errata.models.encoding import Batch, Side
from errata.models.notes import Annotator
from errata.models.prefix import Prefix
from errata.progress import Progress


class EditableModel:
    """A causal, encoder-decoder or sequence-classification model together with its tokenizer.

    Attributes:
        model: the transformers model, used as it is: nothing is wrapped or copied.
        tokenizer: its tokenizer.
        name: what the user called it; the model's class otherwise.
        task: "causal", "seq2seq" or "classification".
        arch: its blocks and matrices.
        context: the most tokens a row may have, or None.
        width: size d of the hidden state.
        labels: the label names of a classifier in id order, else empty.
        pad_id: what padding is filled with; the end token where the tokenizer has no pad token.
        chat: how its conversations are written; None for a model without a chat template.
        progress: where long work on it is shown; nowhere by default.
        notes: what writes into its conversations before they are rendered; copies around the same network share it.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str | None = None
    ) -> None:
        """Take a model in memory.

        Raises:
            BadModel: it is of another kind, or its structure cannot be read.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.name = name or type(model).__name__
        self.task = loading.task_of(model)
        self.arch = Arch.of(model)
        self.context = loading.context_of(model)
        self.width: int = model.config.get_text_config().hidden_size
        names = cast(dict[int, str], model.config.id2label) if self.task == "classification" else {}
        self.labels = [names[index] for index in sorted(names)]
        self.pad_id = encoding.pad_id(tokenizer)
        self.chat = ChatFormat.of(tokenizer) if self.task == "causal" else None
        self.appends_end = encoding.appends_end(tokenizer)
        self.progress = Progress()
        self.notes: list[Annotator] = []
        self._accepts = frozenset(inspect.signature(model.forward).parameters)

    @classmethod
    def load(
        cls, name: str, *, dtype: torch.dtype | str | None = None, device: torch.device | str | None = None
    ) -> EditableModel:
        """Load "lab:gpt" and its like, a name such as "smollm2", a directory, a .gguf file or a hub id.

        A .gguf file is converted into a checkpoint in the cache when it is first loaded.

        `dtype` defaults to the one the weights are stored in, `device` to the GPU where there is one.

        Raises:
            BadModel: nothing loadable has this name, or it is not a kind of model Errata edits.
            UnknownName: "lab:" is followed by a name the lab does not have.
        """
        return cls(*loading.load(name, dtype=dtype, device=device), name=name)

    @classmethod
    def outline(cls, name: str) -> EditableModel:
        """The structure of a model, read from its config: no weights are loaded, and it can't be run.

        Raises: as `load`.
        """
        return cls(*loading.outline(name), name=name)

    @property
    def device(self) -> torch.device:
        """Where the model's inputs belong."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return self.model.dtype

    def check(self) -> None:
        """Raise BadModel, naming the tensor, if a weight is NaN or infinite."""
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise BadModel(f"weight '{name}' of {self.name} holds NaN or infinity; load intact weights")

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the current weights and persistent buffers: names, dtypes, shapes and bytes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(raw.numpy().data)
        return digest.hexdigest()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode inside; on exit every module is back in the mode it was in."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Eval mode and nothing trainable inside; afterwards modes, `requires_grad` and `.grad` as before."""
        state = [(weight, weight.requires_grad, weight.grad) for weight in self.model.parameters()]
        with self.evaluating():
            try:
                for weight, _, _ in state:
                    weight.requires_grad_(False)
                    weight.grad = None
                yield
            finally:
                for weight, trainable, gradient in state:
                    weight.requires_grad_(trainable)
                    weight.grad = gradient

    def encode(
        self,
        prompts: Sequence[str],
        targets: Sequence[str] | None = None,
        *,
        end: bool | Sequence[bool] = True,
        padding_side: Side = "right",
    ) -> Batch:
        """Prompts, and the targets they must lead to, as one batch on the model's device.

        A causal model reads the target after its prompt, one space between; an encoder-decoder writes it; for
        a classifier it is a label's name or number. With `end`, one for all or one a row, the target includes the
        token that ends an answer. Classifiers, and what a decoder reads, are padded on the right whatever is asked.

        Raises:
            BadEdit: a row is empty or longer than the model's context, or a target is not a label.
            BadModel: the tokenizer has no end token although `end` asks for one.
        """
        return encoding.encode(self, prompts, targets, end=end, padding_side=padding_side)

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """The batch as arguments of the model's own forward."""
        arguments: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if batch.decoder_input_ids is not None:
            arguments["decoder_input_ids"] = batch.decoder_input_ids
        if batch.position_ids is not None and "position_ids" in self._accepts:
            arguments["position_ids"] = batch.position_ids
        return arguments

    def run(self, inputs: dict[str, Any], *, cached: bool = False, keep: int | None = None) -> Any:
        """The output of the model's own forward for arguments made by `inputs`.

        `cached` asks for a key-value cache. `keep` asks for the logits of the last positions only; a model
        that cannot be asked returns them all.
        """
        options: dict[str, Any] = {"use_cache": cached} if "use_cache" in self._accepts else {}
        if keep is not None and "logits_to_keep" in self._accepts:
            read = inputs["decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"]
            size = read.shape[1]
            # An index, not a number: a non-contiguous slice makes the head several times slower on a CPU.
            options["logits_to_keep"] = torch.arange(max(size - keep, 0), size, device=read.device)
        return self.model(**inputs, **options)

    def logits(self, inputs: dict[str, Any], keep: int | None = None) -> torch.Tensor:
        """Logits (B, S, V) for arguments made by `inputs`; (B, 1, C) from a classifier."""
        logits = self.run(inputs, keep=keep).logits
        if self.task == "classification":
            return logits[:, None]
        return logits if keep is None else logits[:, -keep:]

    def forward(self, batch: Batch, keep: int | None = None) -> torch.Tensor:
        """Logits (B, S, V), aligned to `batch.gold`; those of the last `keep` positions only, if given.

        A classifier's are (B, 1, C) in any case.
        """
        return self.logits(self.inputs(batch), keep)

    @torch.no_grad()
    def greedy_match(self, batch: Batch) -> torch.Tensor:
        """(B,) bool: is every gold id the model's first choice, so that it would write just the target?"""
        if batch.gold is None:
            raise BadConfig("greedy_match compares with targets; encode the batch with targets")
        with self.evaluating():
            chosen = self.forward(batch, keep=batch.keep).argmax(-1)
        gold = batch.gold[:, -chosen.shape[1] :]
        return ((chosen == gold) | (gold == encoding.IGNORED)).all(1)

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int = 24, batch_size: int = 64
    ) -> list[str]:
        """What the model writes after each prompt, greedily, less special tokens; a classifier's labels.

        Prompts of like length share a batch, whatever their order: padding costs time and changes no answer.
        """
        answers = [""] * len(prompts)
        ordered = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        with self.evaluating():
            for start in range(0, len(prompts), batch_size):
                places = ordered[start : start + batch_size]
                batch = self.encode([prompts[place] for place in places], padding_side="left")
                for place, answer in zip(places, self._answers(batch, max_new_tokens), strict=True):
                    answers[place] = answer
        return answers

    def stream(self, prompt: str, show: Callable[[str], object], *, max_new_tokens: int = 24) -> str:
        """Return what `generate` does for one prompt, and `show` its text piece by piece as it is written."""
        ids: list[int] = []
        shown = ""

        def read(newest: list[int]) -> None:
            nonlocal shown
            ids.extend(newest)
            text = str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
            if text.startswith(shown) and not text.endswith("\ufffd"):  # else a character is not whole yet
                show(text[len(shown) :])
                shown = text

        with self.evaluating(), torch.no_grad():
            batch = self.encode([prompt], padding_side="left")
            answer = self._answers(batch, max_new_tokens, read)[0]
        if answer.startswith(shown):
            show(answer[len(shown) :])
        return answer

    def _answers(
        self, batch: Batch, max_new_tokens: int, show: Callable[[list[int]], object] | None = None
    ) -> list[str]:
        if self.task == "classification":
            return [self.labels[label] for label in self.forward(batch)[:, 0].argmax(-1).tolist()]
        rows = decoding.continue_greedily(self, batch, max_new_tokens, show)
        return [str(self.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows]

    def block(self, layer: int) -> nn.Module:
        """The block at `layer` (negative counts from the end)."""
        return self.model.get_submodule(self.arch.blocks[self.layer_of(layer)])

    def layer_of(self, spec: int | float) -> int:
        """Index of a block given by number (negative: from the end) or by fraction of depth, 0.0 to 1.0.

        Raises:
            BadConfig: out of range.
        """
        depth = len(self.arch)
        if isinstance(spec, float) and 0 <= spec <= 1:
            return round(spec * (depth - 1))
        if isinstance(spec, int) and -depth <= spec < depth:
            return spec % depth
        raise BadConfig(
            f"layer {spec} does not exist; the model has {depth} blocks: "
            f"give 0 to {depth - 1}, -{depth} to -1, or a fraction from 0.0 to 1.0"
        )

    def prefix(self, batch: Batch, layer: int, start: int = 0) -> Prefix:
        """The batch computed up to block `layer`, ready to run the blocks above it again and again.

        `start` leaves out the columns before it, where the model is causal and they are not going to change.
        """
        return Prefix(self, batch, layer, start)
