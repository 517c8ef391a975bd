"""WISE: a side memory beside one down-projection, and a margin that tells when it is to speak (Wang et al., 2024).

The side memory is trained on the targets and, by a margin loss, to make much of an edit's tokens and little of
irrelevant ones: the edit's locality prompts where it has some, else general text. A token of which it makes more than a
share of the least it made of any edit is answered by it. Edits come in shards; each may change a random share of the
entries, in a matrix of its own, and full shards are merged by TIES. As published a whole sequence is routed by its
mean; here every token is, so that batches, padding and a key-value cache make no difference, and only the tokens that
say the target are trained. Margins and rates are in units of typical outputs and inputs, and shards are small by
default, since what a shard holds depends on the size of the matrix (published: 500 edits beside one of 45 million).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.methods._base import option, register_method
from errata.methods._residual import Bench, Residual, ResidualConfig
from errata.models import EditableModel
from errata.patches.memories import Distances
from errata.patches.shares import Share
from errata.solve.residuals import Asked, Lesson, Tutor, read_inputs
from errata.statistics.background import Background


@register_method("wise", paper="arXiv:2405.14768", patch="residual")
class Wise(Residual):
    """A matrix beside one MLP that speaks for the tokens of which it makes much, in shards that are merged."""

    @dataclass(frozen=True)
    class Config(ResidualConfig):
        lr: float = option(0.1, "rate of descent, in units of typical outputs over typical inputs")
        alpha: float = option(0.4, "most that may be made of an irrelevant token, by a typical output's norm")
        beta: float = option(0.8, "least that must be made of an edit's token, by the same")
        gamma: float = option(0.4, "least distance between the two, by the same")
        weight: float = option(1.0, "weight of the margin loss")
        ease: float = option(0.1, "an edit is done when its margin loss is below this too")
        others: int = option(64, "irrelevant tokens of general text beside an edit without locality prompts")
        probes: bool = option(True, "take an edit's locality prompts for irrelevant text; benchmarks ask these")
        share: float = option(0.2, "share of the entries that a shard may change")
        shard: int = option(20, "edits in a shard")
        merge: int = option(1, "shards that become one matrix when they are full; 1: none are merged")
        density: float = option(0.53, "share of a shard's entries that merging keeps")
        threshold: float = option(0.8, "a token is an edit's above this share of the least made of any in training")

    def rule(self, model: EditableModel, background: Background) -> Distances:
        config = self.config
        return Distances(config.threshold, config.share, config.seed, max(1, config.merge), config.density)

    def tutor(self, bench: Bench) -> Tutor:
        config, shard, size = self.config, self._shard(bench), bench.background.written
        entries = bench.memory.entries(shard)
        start = bench.memory.sums.get(shard)

        def penalty(own: Tensor, others: Tensor) -> Tensor:
            inside, outside = own.norm(dim=1) / size, others.norm(dim=1) / size
            terms = (outside[:, None] - inside + config.gamma, outside - config.alpha, config.beta - inside)
            return config.weight * torch.stack([_over(term) for term in terms]).sum()

        return bench.tutor(
            config, entries.float().zero_() if start is None else start.clone(),
            size / (bench.background.read * config.share**0.5), entries=entries, penalty=penalty, ease=config.ease,
        )  # fmt: skip

    def lesson(self, bench: Bench, asked: Asked, number: int) -> Lesson:
        prompts = [probe.prompt for probe in asked.edit.locality] if self.config.probes else []
        if prompts:
            others = read_inputs(bench.model, prompts, bench.layer)
        else:
            generator = torch.Generator().manual_seed(self.config.seed + number)
            text = bench.background.inputs
            others = text[torch.randperm(len(text), generator=generator)[: self.config.others]].to(asked.inputs)
        return Lesson.of(asked, torch.cat([asked.inputs, others]), bench.memory.rows)

    def share(self, bench: Bench, tutor: Tutor, lessons: Sequence[Lesson]) -> Share:
        own = torch.cat([lesson.asked.inputs for lesson in lessons]) @ tutor.matrix.T
        return Share.of(
            [str(lesson.asked.edit.id) for lesson in lessons],
            torch.cat([lesson.written for lesson in lessons]), torch.cat([lesson.read for lesson in lessons]),
            entries=tutor.entries, shard=self._shard(bench), nearest=float(own.norm(dim=1).min()),
        )  # fmt: skip

    def _shard(self, bench: Bench) -> int:
        """The shard that the call's edits go to: the last, or another if that is full."""
        last = max((share.shard for share in bench.base), default=0)
        held = sum(len(share.edits) for share in bench.base if share.shard == last)
        return last + (held >= self.config.shard)


def _over(terms: Tensor) -> Tensor:
    """The mean of those above 0."""
    above = terms[terms > 0]
    return above.mean() if len(above) else terms.new_zeros(())
