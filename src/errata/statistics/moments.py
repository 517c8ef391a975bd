"""Second moments of keys: the mean of k k^T over text, where k is what a block's down-projection reads.

Locate-then-edit methods weigh with it what must stay as it is (Meng et al., arXiv:2202.05262). Knows models without
patches, text and the cache. How the matrix is used is the solver's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from errata.errors import BadConfig, BadModel, did_you_mean
from errata.models import EditableModel
from errata.models.arch import ROLES
from errata.models.encoding import prompt_ids
from errata.patches.original import patches_off
from errata.statistics import cache, kept
from errata.statistics.collecting import collect
from errata.statistics.corpus import Corpus
from errata.statistics.identity import original_fingerprint

KIND, PARTIAL = "moments", "partial"
TOKENS = 100_000


@dataclass(frozen=True)
class Need:
    """The second moments that a method asks for: of which blocks, of what reads which matrix, over how much text."""

    layers: tuple[int, ...]
    role: str = "mlp_down"
    tokens: int = TOKENS


@dataclass(frozen=True, eq=False)
class SecondMoment:
    """Mean of k k^T over tokens, uncentred.

    Attributes:
        matrix: (d, d), float64, symmetric.
        tokens: how many keys the mean was taken over.
        spectrum: (d,) its eigenvalues, ascending; those that rounding made negative are 0.
        name: what it is of, for messages: "block 3".
        key: identity of its content; equal keys mean equal matrices.
    """

    matrix: Tensor
    tokens: int
    spectrum: Tensor
    name: str
    key: str

    @classmethod
    def of(cls, matrix: Tensor, tokens: int, name: str = "the given matrix") -> SecondMoment:
        """A second moment from a matrix (d, d); its key is the hash of its bytes.

        Raises:
            BadConfig: the matrix is not square and symmetric, or holds NaN or infinity.
        """
        exact = matrix.detach().double().contiguous()
        square = exact.dim() == 2 and exact.shape[0] == exact.shape[1]
        if not (square and exact.isfinite().all() and torch.allclose(exact, exact.T, rtol=1e-9)):
            raise BadConfig(f"a second moment is a square, symmetric, finite matrix; this one is {tuple(matrix.shape)}")
        key = hashlib.sha256(exact.cpu().numpy().tobytes()).hexdigest()
        return cls(exact, tokens, _spectrum(exact), name, key)

    @property
    def size(self) -> int:
        """d, the width of a key."""
        return len(self.matrix)

    @property
    def rank(self) -> int:
        """How many directions the keys span, rounding apart: fewer than d if there was too little text."""
        floor = float(self.spectrum[-1]) * self.size * torch.finfo(torch.float64).eps
        return int((self.spectrum > floor).sum())

    @property
    def warning(self) -> str | None:
        """What to know before using it; None if nothing."""
        if self.rank == self.size:
            return None
        return (
            f"the key statistics of {self.name} span {self.rank} of {self.size} directions ({self.tokens} tokens): "
            "in the others nothing protects what the model knows; take more tokens or another corpus"
        )


def second_moments(
    model: EditableModel,
    layers: Sequence[int],
    corpus: Corpus,
    *,
    role: str = "mlp_down",
    tokens: int = TOKENS,
    progress: bool = False,
) -> dict[int, SecondMoment]:
    """Second moment, for each block, of what the matrix with `role` reads, over the first `tokens` tokens of `corpus`.

    Taken with every patch off. Special tokens that the tokenizer puts around a text count, padding does not. A corpus
    that ends early is used up (`SecondMoment.tokens` says how far it went). What was computed once is read from the
    cache; an interrupted run goes on where it was.

    Args:
        layers: blocks, by number; blocks of a decoder that follows an encoder have no text of their own to read.
        role: one of `errata.models.arch.ROLES`.
        progress: show a bar.

    Raises:
        BadConfig: no such block or role, or no tokens.
        BadModel: the model's keys are not finite.
    """
    if tokens < 1:
        raise BadConfig(f"statistics over {tokens} tokens tell nothing; use 1 or more")
    entries = {layer: _entry(model, layer, corpus, role, tokens) for layer in map(model.layer_of, layers)}
    found = {layer: moment for layer, entry in entries.items() if (moment := _known(entry, layer))}
    if missing := [layer for layer in entries if layer not in found]:
        partial = cache.address(PARTIAL, {**_card(model, corpus, role, tokens), "layers": missing})
        paths = {layer: _path(model, layer, role) for layer in missing}
        with patches_off(model), model.preserved():
            sums = collect(model, paths, corpus, tokens, partial, progress=progress)
        for layer in missing:
            found[layer] = _finished(entries[layer], layer, sums.sums.pop(layer), sums.tokens, corpus.name)
        cache.remove(partial)
    return {layer: found[layer] for layer in entries}


def is_cached(
    model: EditableModel, layer: int, corpus: Corpus, *, role: str = "mlp_down", tokens: int = TOKENS
) -> bool:
    """Whether `second_moments` would find this on disk."""
    return cache.read_card(_entry(model, model.layer_of(layer), corpus, role, tokens)) is not None


def _known(entry: Path, layer: int) -> SecondMoment | None:
    """What is in memory, else on disk."""
    held = kept.find((KIND, entry.name))
    if held is not None:
        return held
    stored = cache.fetch(entry)
    if stored is None:
        return None
    tensors, card = stored
    return _hold(SecondMoment(tensors["matrix"], card["tokens"], tensors["spectrum"], f"block {layer}", entry.name))


def _finished(entry: Path, layer: int, total: Tensor, tokens: int, corpus: str) -> SecondMoment:
    """A sum, of which the upper triangle counts, made a mean, stored and held."""
    upper = total.triu() / tokens
    if not upper.isfinite().all():
        raise BadModel(f"the keys of block {layer} are not finite on this text; load the model in float32 or bfloat16")
    matrix = upper + upper.triu(1).T
    moment = SecondMoment(matrix.cpu(), tokens, _spectrum(matrix), f"block {layer}", entry.name)
    card = {"tokens": tokens, "block": layer, "corpus": corpus}
    cache.store(entry, {"matrix": moment.matrix, "spectrum": moment.spectrum}, card)
    return _hold(moment)


def _hold(moment: SecondMoment) -> SecondMoment:
    return kept.hold((KIND, moment.key), moment, moment.matrix.nbytes)


def _spectrum(matrix: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(matrix).clamp(min=0).cpu()


def _path(model: EditableModel, layer: int, role: str) -> str:
    if role not in ROLES:
        raise BadConfig(f"no matrix is called '{role}'.{did_you_mean(role, ROLES)} Known: {', '.join(ROLES)}")
    if model.task == "seq2seq" and model.arch.causal(layer):
        last = model.arch.encoder_depth - 1
        raise BadConfig(f"block {layer} is a decoder's, which reads no text; choose an encoder block, 0 to {last}")
    return model.arch.matrix(layer, role)


def _entry(model: EditableModel, layer: int, corpus: Corpus, role: str, tokens: int) -> Path:
    return cache.address(KIND, {**_card(model, corpus, role, tokens), "layer": layer})


def _card(model: EditableModel, corpus: Corpus, role: str, tokens: int) -> dict[str, Any]:
    """Everything that determines the statistics but for the blocks."""
    return {
        "version": 1,
        "model": original_fingerprint(model),
        "reads": prompt_ids(model, ["It reads this."])[0],  # one set of weights may come with two tokenizers
        "corpus": corpus.digest,
        "role": role,
        "tokens": tokens,
    }
