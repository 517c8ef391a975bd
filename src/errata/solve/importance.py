"""Which senses of which words matter to an example, and to little else (Hewitt et al., 2024, arXiv:2402.06155).

    I(x, l) = Σ_i Σ_{j ≤ i, x_j = x} α_{l,i,j}  -  weight * the same over 500 tokens of general text, on average

where i are the positions that predict the example's continuation. Knows contextualisations, text and the cache; what
becomes of the senses is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import BadConfig
from errata.models import EditableModel
from errata.models.backpack.words import backpack_of
from errata.models.encoding import prompt_ids
from errata.patches.original import patches_off
from errata.solve.goals import Aims
from errata.solve.readings import Reading, read
from errata.statistics import Corpus, cache, kept, original_fingerprint
from errata.statistics.collecting import batches

KIND = "senses"
CHUNK = 500  # tokens of general text that a weight refers to, as published
TOKENS = 50_000


@dataclass(frozen=True, eq=False)
class Scores:
    """Of u words, the mass of each of their k senses in what an example predicts, and how important that makes it.

    Attributes:
        ids: (u,) token ids, ascending.
        mass: (u, k); a pair without positive mass is not eligible.
        importance: (u, k).
    """

    ids: Tensor
    mass: Tensor
    importance: Tensor

    def best(self, count: int) -> Tensor:
        """(m, 2): token id and sense of the m ≤ `count` most important eligible pairs; of equals the lower ids."""
        eligible = (self.mass > 0).nonzero()
        order = self.importance[self.mass > 0].sort(descending=True, stable=True).indices[:count]
        chosen = eligible[order]
        return torch.stack([self.ids[chosen[:, 0]], chosen[:, 1]], 1)


def scores(
    model: EditableModel, part: Aims, targets: Reading, rivals: Reading | None, background: Tensor, weight: float
) -> list[Scores]:
    """Of each example of `part`, read as `targets` and `rivals`. `background` (V, k) as of `background`.

    "balance" adds the rival's mass. "contrast" subtracts it, but for predictions that target and rival make of the same
    text: senses that reach these move both, so they count once. (Subtracting there too, as published, would leave
    nothing wherever the two differ in their first token.) Tokens that a tokenizer puts around texts, such as the one
    that every text starts with, have no mass: they stand in every text, and what is added to them changes all of it.
    """
    owners = {int(owner): row for row, owner in enumerate(part.owners.tolist())}
    found = []
    for row, edit in enumerate(part.edits):
        ids, mass = targets.mass(row)
        if rivals is not None and row in owners:
            ids, mass = _paired(edit, (ids, mass), _rival_mass(edit, targets, row, rivals, owners[row]))
        around = torch.tensor(model.tokenizer.all_special_ids, device=ids.device)
        mass = mass.masked_fill(torch.isin(ids, around)[:, None], 0.0)
        found.append(Scores(ids, mass, mass - weight * background.to(mass)[ids]))
    return found


def _rival_mass(edit: Edit, targets: Reading, row: int, rivals: Reading, other: int) -> tuple[Tensor, Tensor]:
    if edit.goal != "contrast":
        return rivals.mass(other)
    one, two = (reading.batch.input_ids[at] for reading, at in ((targets, row), (rivals, other)))
    length = min(len(one), len(two))
    same = int((one[:length] == two[:length]).int().cumprod(0).sum())
    return rivals.mass(other, start=same)


def _paired(
    edit: Edit, target: tuple[Tensor, Tensor], rival: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Ids and mass of both texts together."""
    sign = -1.0 if edit.goal == "contrast" else 1.0
    ids = torch.cat([target[0], rival[0]]).unique()
    mass = target[1].new_zeros(len(ids), target[1].shape[1])
    mass[torch.searchsorted(ids, target[0])] += target[1]
    mass[torch.searchsorted(ids, rival[0])] += sign * rival[1]
    return ids, mass


def union(pairs: Sequence[Tensor]) -> Tensor:
    """(n, 2): every pair once, in ascending order."""
    return torch.cat(list(pairs)).unique(dim=0)


def background(model: EditableModel, corpus: Corpus, tokens: int = TOKENS, *, progress: bool = False) -> Tensor:
    """(V, k) float32: how much of each sense of each word reaches 500 tokens of text, on average.

    Taken over the first `tokens` tokens of `corpus` with every patch off, once; then it is in the cache.

    Raises:
        BadConfig: no tokens.
        BadModel: the model is no Backpack.
    """
    if tokens < 1:
        raise BadConfig(f"statistics over {tokens} tokens tell nothing; use 1 or more")
    backpack_of(model)
    entry = cache.address(KIND, _card(model, corpus, tokens))
    key = (KIND, entry.name)
    held = kept.find(key)
    if held is None:
        stored = cache.fetch(entry)
        held = stored[0]["mass"] if stored else None
    if held is None:
        with patches_off(model), model.preserved():
            held, seen = _measured(model, corpus, tokens, progress)
        cache.store(entry, {"mass": held}, {"tokens": seen, "corpus": corpus.name})
    return kept.hold(key, held, held.nbytes)


@torch.no_grad()
def _measured(model: EditableModel, corpus: Corpus, tokens: int, progress: bool) -> tuple[Tensor, int]:
    config = backpack_of(model).config
    total = torch.zeros(config.vocab_size, config.num_senses, dtype=torch.float64)
    seen = 0
    with model.progress.or_terminal(progress).bar("senses in text", tokens, "token") as bar:
        for batch in batches(model, corpus):
            reading = read(model, batch)
            for row in reading.rows.unique().tolist():
                ids, mass = reading.mass(row)
                total[ids.cpu()] += mass.double().cpu()
            before, seen = seen, seen + len(reading.rows)
            bar.update(min(seen, tokens) - min(before, tokens))
            if seen >= tokens:
                break
    return (total * (CHUNK / max(1, seen))).float(), seen


def _card(model: EditableModel, corpus: Corpus, tokens: int) -> dict[str, Any]:
    """Everything that determines the background."""
    return {
        "version": 1,
        "model": original_fingerprint(model),
        "reads": prompt_ids(model, ["It reads this."])[0],  # one set of weights may come with two tokenizers
        "corpus": corpus.digest,
        "tokens": tokens,
    }
