"""SaLEM: MEND of one matrix, the one a correction would change most (Findings of EACL 2024).

Of the MLP matrices that MEND would rewrite, the one with the largest gradient salience over passing, failing and
rephrased samples of the training data is rewritten. Gradients are summed over a batch of edits and cut to the
directions that hold most of their energy before the network sees them. No code was published; what the paper leaves
open (the candidates, the rank, signs) is decided here. Among all matrices the lowest are often the most salient:
everything above depends on them, and one step there mostly moves much else (docs/learned.md tells where it does not).
With `among` "all" these are candidates too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from errata.edits import Edit, Probe
from errata.errors import BadConfig
from errata.learn.directions import main_directions
from errata.learn.hypernetwork import Site
from errata.learn.lessons import Lesson, Lessons
from errata.learn.rewriting import Pairs, Read, every_token, site
from errata.locate.salience import GROUPS, Salience, Sample, salience, samples_of
from errata.methods._base import option, register_method
from errata.methods._rewriting import RewritingConfig, RewritingMethod
from errata.methods._sites import top_blocks
from errata.models import EditableModel
from errata.models.factors import Factors
from errata.models.hooks import as_matrix

LEAST = 4
"""Samples of each group that the choice of the matrix needs."""
_EACH = 2  # rephrasings and probes of an edit that the choice looks at
_LONGEST = 12  # tokens of an answer of the model's own
_SHOWN = 4  # of the most salient matrices that a card tells


@register_method("salem", paper="Findings EACL 24", patch="weights", needs_training=True)
class Salem(RewritingMethod):
    """A trained network rewrites the one most salient matrix from the main directions of a batch's gradient."""

    @dataclass(frozen=True)
    class Config(RewritingConfig):
        layer: Literal["salient"] | int | float = option(
            "salient", "training: block whose MLP down-projection is rewritten; or the most salient MLP matrix of all"
        )
        energy: float = option(0.99, "training: share of a summed gradient's energy that the network sees")
        salience: Literal["relative", "absolute"] = option(
            "absolute", "training: gradients as they are (published), or by the size of a matrix's own weights"
        )
        among: Literal["last", "all"] = option(
            "last", "training: blocks to choose from, those that MEND rewrites or all"
        )
        choosing: int = option(48, "training: edits whose gradients choose the matrix")
        passes: int = option(
            3, "most times that a batch is gone through, again only for edits that do not hold yet; 1 as published"
        )

    def sites(self, model: EditableModel, lessons: Lessons) -> tuple[list[Site], dict[str, Any]]:
        if self.config.layer != "salient":
            path = model.arch.matrix(model.layer_of(self.config.layer), "mlp_down")
            return [site(model, path)], {}
        looked_at = lessons.batch(0, min(self.config.choosing, len(lessons.training)))
        found = salience(model, _samples(model, looked_at))
        among = top_blocks(model) if self.config.among == "last" else range(len(model.arch))
        ranked = _ranked(model, found, among, self.config.salience == "relative")
        block, role = ranked[0]["block"], ranked[0]["role"]
        why = {"salience": ranked[:_SHOWN], "samples": found.counts()}
        return [site(model, model.arch.matrix(block, role))], why

    @property
    def read(self) -> Read:
        def read(factors: Factors) -> Pairs:
            return main_directions(*every_token(factors), energy=self.config.energy)

        return read


def _samples(model: EditableModel, lessons: Sequence[Lesson]) -> list[Sample]:
    """Passing, failing and rephrased samples. Raises BadConfig: too few of a kind.

    Where the model answers too few of the probes rightly, what it says to them is what has to stay.
    """
    few = [
        replace(lesson.edit, rephrases=lesson.edit.rephrases[:_EACH], locality=lesson.locality[:_EACH])
        for lesson in lessons
    ]
    samples = samples_of(model, few)
    if _count(samples)["pass"] < LEAST:
        samples = samples_of(model, [replace(edit, locality=_said(model, edit)) for edit in few])
    counts = _count(samples)
    for group, count in counts.items():
        if count < LEAST:
            raise BadConfig(
                f"the training data has {count} samples that {_MEANS[group]}, and the choice of the matrix needs at "
                f"least {LEAST}; add some, look at more edits (--choosing), or name the block (--layer)"
            )
    return samples


def _count(samples: Sequence[Sample]) -> dict[str, int]:
    return {group: sum(sample.group == group for sample in samples) for group in GROUPS}


def _said(model: EditableModel, edit: Edit) -> tuple[Probe, ...]:
    """The edit's probes, answered by the model; without those to which it says nothing."""
    prompts = [probe.prompt for probe in edit.locality]
    answers = model.generate(prompts, max_new_tokens=_LONGEST) if prompts else []
    return tuple(Probe(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer)


_MEANS = {
    "pass": "the model has an answer to (locality probes)",
    "fail": "the model answers wrongly (edits)",
    "adapt": "are rephrasings",
}


def _ranked(model: EditableModel, found: Salience, among: Sequence[int], relative: bool) -> list[dict[str, Any]]:
    """MLP matrices, the most salient first; "score" is in the unit asked for.

    The gradient of a matrix that is small throughout is large for that alone: by the matrix's size, the score is what
    a step of one per cent, say, of the weights would change the loss by.
    """
    rows = [row for row in found.rows() if row["block"] in among and row["role"].startswith("mlp")]
    for row in rows:
        matrix = as_matrix(model.model.get_submodule(model.arch.matrix(row["block"], row["role"]))).float()
        row["score"] *= float(matrix.square().mean().sqrt()) if relative else 1.0
    shown = ("block", "role", "score")
    return sorted(({name: row[name] for name in shown} for row in rows), key=lambda row: -row["score"])
