"""Sense patches: vectors added to some senses of some words of a Backpack (Hewitt et al., 2024, arXiv:2402.06155).

A sense belongs to a word wherever it stands, so what was added follows the word into every text. Where no such word is
in sight not a bit changes. Knows sense vectors by token id and number; how the additions were found is no concern here.
"""

from __future__ import annotations

import weakref
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from errata.errors import BadModel, BadPatch, WrongModel
from errata.patches.base import Inseparable, Patch

if TYPE_CHECKING:
    from errata.models import EditableModel
    from errata.models.backpack.modeling import BackpackForCausalLM


class Additions:
    """What is added to the sense vectors of a vocabulary of V words with k senses each, ready to be looked up.

    Attributes:
        place: (V, k) int32, the row of `vectors` that a sense takes; -1 where nothing is added.
        vectors: (n, d) float32. Gradients reach them.
    """

    def __init__(self, pairs: Tensor, vectors: Tensor, words: int, senses: int) -> None:
        """For pairs (n, 2) of token id and sense, none twice."""
        self.place = torch.full((words, senses), -1, dtype=torch.int32, device=vectors.device)
        word, sense = pairs.to(vectors.device).unbind(1)
        self.place[word, sense] = torch.arange(len(pairs), dtype=torch.int32, device=vectors.device)
        self.vectors = vectors

    @classmethod
    def of(cls, patches: Sequence[SensePatch], words: int, senses: int, device: torch.device | str) -> Additions:
        """Those of several patches, which add up in this order."""
        pairs, where = torch.cat([patch.pairs for patch in patches]).unique(dim=0, return_inverse=True)
        vectors = torch.zeros(len(pairs), patches[0].vectors.shape[1])
        for patch, rows in zip(patches, where.split([len(patch.pairs) for patch in patches]), strict=True):
            vectors[rows] += patch.vectors
        return cls(pairs, vectors.to(device), words, senses)

    def added(self, senses: Tensor, ids: Tensor) -> Tensor:
        """(..., k, d): sense vectors of the token ids (...) with the additions, summed in float32."""
        if self.vectors.device != senses.device:  # the model was moved after the patch was attached
            self.place, self.vectors = self.place.to(senses.device), self.vectors.to(senses.device)
        rows = self.place[ids]
        hit = rows >= 0
        if not bool(hit.any()):
            return senses
        changed = senses.clone()
        changed[hit] = (senses[hit].float() + self.vectors[rows[hit].long()]).to(senses.dtype)
        return changed

    def hook(self, _module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """As a forward hook of a Backpack's senses; embeddings without token ids are left as they are."""
        ids: Tensor | None = args[1] if len(args) > 1 else None
        return output if ids is None else self.added(output, ids)


class SensePatch(Patch):
    """c_l(x) + d for chosen pairs of a word x and the number l of one of its senses.

    Attributes:
        pairs: (n, 2) int64, token id and sense, none twice.
        vectors: (n, d) float32 on the CPU, the additions d, whatever the model's dtype.
        per_word: k, how many senses a word of the model has.
        reads: for each edit the rows of `pairs` that reach what it predicts. Edits that read one sense together were
            trained on one another.
    """

    kind: ClassVar[str] = "senses"

    def __init__(
        self,
        pairs: Tensor,
        vectors: Tensor,
        per_word: int,
        reads: Sequence[Sequence[int]],
        *,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.pairs = pairs.detach().to("cpu", copy=True).contiguous()
        self.vectors = vectors.detach().to("cpu", copy=True).contiguous()
        self.per_word, self.reads = per_word, tuple(tuple(rows) for rows in reads)
        self._check()

    def _check(self) -> None:
        pairs, vectors = self.pairs, self.vectors
        if (pairs.dtype, vectors.dtype) != (torch.int64, torch.float32):
            raise BadPatch("a sense patch needs int64 pairs and float32 vectors; the file is damaged")
        if pairs.shape != (len(pairs), 2) or vectors.dim() != 2 or len(vectors) != len(pairs):
            raise BadPatch("a sense patch needs pairs (n, 2) and vectors (n, d); the file is damaged")
        if not vectors.isfinite().all():
            raise BadPatch("a sense patch holds NaN or infinite values; lower the learning rate and edit again")
        beyond = bool((pairs < 0).any() or (pairs[:, 1] >= self.per_word).any())
        if beyond or len(pairs.unique(dim=0)) < len(pairs):
            raise BadPatch("a sense patch names a sense that does not exist, or one twice; the file is damaged")
        rows = [row for read in self.reads for row in read]
        if len(self.reads) != len(self.edits) or not all(0 <= row < len(pairs) for row in rows):
            raise BadPatch("a sense patch does not say which senses its edits read; the file is damaged")

    @property
    def words(self) -> int:
        """Words whose senses it changes."""
        return len(self.pairs[:, 0].unique())

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "senses": len(self.pairs), "words": self.words}

    def header(self) -> dict[str, Any]:
        return {**super().header(), "per_word": self.per_word, "reads": [list(rows) for rows in self.reads]}

    def tensors(self) -> dict[str, Tensor]:
        return {"pairs": self.pairs, "vectors": self.vectors}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> SensePatch:
        return cls(
            tensors["pairs"], tensors["vectors"], int(header["per_word"]), header["reads"],
            method=header["method"], config=header["config"], edits=header["edits"],
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> Patch:
        read = {True: set[int](), False: set[int]()}
        for edit, rows in zip(self.edits, self.reads, strict=True):
            read[edit in kept].update(rows)
        if read[True] & read[False]:
            raise Inseparable(
                f"some of the {len(self.edits)} edits of this '{self.method}' patch share sense vectors, which were "
                "trained on all that do; undo all of them, then apply the ones to keep again"
            )
        rows = sorted(read[True])
        place = {row: number for number, row in enumerate(rows)}
        reads = [
            [place[row] for row in own] for edit, own in zip(self.edits, self.reads, strict=True) if edit in kept
        ]
        return SensePatch(
            self.pairs[rows], self.vectors[rows], self.per_word, reads,
            method=self.method, config=self.config, edits=kept, order=self.order,
        )  # fmt: skip

    def _attach(self, model: EditableModel) -> None:
        self.require_fit(model)
        _SITES.setdefault(model.model, _Site()).join(_backpack(model), self)

    def _detach(self, model: EditableModel) -> None:
        if _SITES[model.model].leave(_backpack(model), self):
            del _SITES[model.model]

    def require_fit(self, model: EditableModel) -> None:
        """Raises: WrongModel (the model has no such senses)."""
        try:
            network = _backpack(model)
        except BadModel as error:
            raise WrongModel(f"the patch changes senses of words: {error}") from error
        sizes = (network.config.num_senses, network.config.n_embd)
        if (self.per_word, self.vectors.shape[1]) != sizes:
            raise WrongModel(
                f"the patch is for {self.per_word} senses of width {self.vectors.shape[1]}; this model has {sizes[0]} "
                f"of width {sizes[1]}: attach it to the model it was made for"
            )
        if len(self.pairs) and int(self.pairs[:, 0].max()) >= network.config.vocab_size:
            raise WrongModel(
                f"the patch changes senses of word {int(self.pairs[:, 0].max())}; this model has "
                f"{network.config.vocab_size} words: attach it to the model it was made for"
            )


@contextmanager
def adding(network: BackpackForCausalLM, additions: Additions) -> Iterator[None]:
    """Inside, these are added to what attached patches add. Gradients reach their vectors."""
    handle = network.transformer.senses.register_forward_hook(additions.hook)
    try:
        yield
    finally:
        handle.remove()


class _Site:
    """The sense patches on one model, in order, and the one hook that adds what they add together."""

    def __init__(self) -> None:
        self.patches: list[SensePatch] = []
        self.handle: torch.utils.hooks.RemovableHandle | None = None

    def join(self, network: BackpackForCausalLM, patch: SensePatch) -> None:
        insort(self.patches, patch, key=lambda one: one.order or 0)
        self._hook(network)

    def leave(self, network: BackpackForCausalLM, patch: SensePatch) -> bool:
        """Whether it was the last."""
        self.patches = [one for one in self.patches if one is not patch]
        self._hook(network)
        return not self.patches

    def _hook(self, network: BackpackForCausalLM) -> None:
        if self.handle is not None:
            self.handle.remove()
            self.handle = None
        if self.patches:
            sizes = network.config.vocab_size, network.config.num_senses
            additions = Additions.of(self.patches, *sizes, network.device)
            # Before the hooks of others, which see the senses that are in force.
            self.handle = network.transformer.senses.register_forward_hook(additions.hook, prepend=True)


def _backpack(model: EditableModel) -> BackpackForCausalLM:
    from errata.models.backpack.words import backpack_of  # transformers' classes, which no other patch needs

    return backpack_of(model)


# State of a model, not of a process: it dies with the model.
_SITES: weakref.WeakKeyDictionary[nn.Module, _Site] = weakref.WeakKeyDictionary()
