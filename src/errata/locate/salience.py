"""Gradient salience: which matrix a correction would change most, the choice of layer of SaLEM (Findings of EACL 2024).

The score of a matrix is the mean, over samples, of the size of one entry of the gradient of the sample's loss against
the desired output: mean magnitude (L1) or root mean square. Magnitudes, since signed entries cancel; for one entry,
since a wide matrix would always win otherwise. Knows samples, matrices and gradients; changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import BadConfig
from errata.locate.record import Record
from errata.models import EditableModel
from errata.models.factors import Factors, gradient_factors

Norm = Literal["l1", "rms"]
GROUPS = ("pass", "fail", "adapt")


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt with the output that is wanted.

    `group`: "adapt" for a rephrasing of an edit; else "pass" or "fail", by whether the model gives it already.
    """

    prompt: str
    target: str
    group: str

    @property
    def key(self) -> str:
        """A short name that no other sample has."""
        return hashlib.sha256(f"{self.group}\0{self.prompt}\0{self.target}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Salience:
    """Scores of every matrix on every sample.

    Attributes:
        model: the model's name.
        matrices: block and role of each of the M matrices.
        samples: the N samples.
        scores: (N, M), float64.
        norm: how a gradient was measured.
    """

    model: str
    matrices: list[tuple[int, str]]
    samples: list[Sample]
    scores: Tensor
    norm: Norm

    def best(self) -> tuple[int, str]:
        """Block and role of the most salient matrix."""
        return self.matrices[int(self.scores.mean(0).argmax())]

    def rows(self) -> list[dict[str, Any]]:
        """One record a matrix, in the order of the model: score, standard error, and the mean of each group."""
        mean = self.scores.mean(0)
        error = self.scores.std(0) / len(self.samples) ** 0.5 if len(self.samples) > 1 else torch.zeros_like(mean)
        rows = []
        for column, (block, role) in enumerate(self.matrices):
            row: dict[str, Any] = {"block": block, "role": role, "score": float(mean[column])}
            row |= {"standard_error": float(error[column]), "n": len(self.samples), "norm": self.norm}
            rows.append(row | {group: self._group(group, column) for group in GROUPS})
        return rows

    def counts(self) -> dict[str, int]:
        """Samples by group."""
        return {group: sum(sample.group == group for sample in self.samples) for group in GROUPS}

    def _group(self, group: str, column: int) -> float | None:
        here = [index for index, sample in enumerate(self.samples) if sample.group == group]
        return float(self.scores[here, column].mean()) if here else None


def samples_of(model: EditableModel, edits: Sequence[Edit], *, batch_size: int = 64) -> list[Sample]:
    """The samples of SaLEM's edit set: prompts with their targets, rephrases, and probes the model answers rightly.

    A locality probe without an answer, or that the model answers otherwise, is left out: what it should say is unknown.
    """
    found = [Sample(edit.prompt, edit.target, "edit") for edit in edits]
    probes = [(probe.prompt, probe.answer) for edit in edits for probe in edit.locality]
    found += [Sample(prompt, answer, "probe") for prompt, answer in probes if answer is not None]
    found = list(dict.fromkeys(found))
    right = _answered(model, found, batch_size)
    samples = [
        Sample(sample.prompt, sample.target, "pass" if ok else "fail")
        for sample, ok in zip(found, right, strict=True)
        if ok or sample.group == "edit"
    ]
    adapt = [Sample(rephrase, edit.target, "adapt") for edit in edits for rephrase in edit.rephrases]
    return list(dict.fromkeys([*samples, *adapt]))


def salience(
    model: EditableModel,
    samples: Sequence[Sample],
    *,
    norm: Norm = "l1",
    batch_size: int = 16,
    record: Path | None = None,
    progress: bool = False,
) -> Salience:
    """Scores of every matrix that has a role, in every block, on at least one sample.

    With `record`, a JSONL file, finished samples are kept, and the same call goes on from there.

    Raises:
        BadConfig: there is no sample, no such norm, or the record is of other work.
    """
    if norm not in ("l1", "rms"):
        raise BadConfig(f"'norm' is '{norm}'; it must be l1 or rms")
    if not samples:
        raise BadConfig("there is nothing to take gradients of; pass at least one edit")
    matrices = {
        (block, role): path
        for block in range(len(model.arch))
        for role, path in model.arch.matrices(block).items()
    }
    work = {"model": model.fingerprint(), "norm": norm, "matrices": list(matrices.values())}
    shown = model.progress.or_terminal(progress)
    with Record(record, work) as done, shown.bar("gradients", len(samples), "sample") as bar:
        missing = [sample for sample in samples if sample.key not in done.results]
        bar.update(len(samples) - len(missing))
        for start in range(0, len(missing), batch_size):
            part = missing[start : start + batch_size]
            batch = model.encode([sample.prompt for sample in part], [sample.target for sample in part])
            factors = gradient_factors(model, batch, matrices.values())
            for row, sample in enumerate(part):
                done.add(sample.key, [_size(factors[path], row, norm) for path in matrices.values()])
            bar.update(len(part))
        scores = torch.tensor([done.results[sample.key] for sample in samples], dtype=torch.float64)
    return Salience(model.name, list(matrices), list(samples), scores, norm)



def _answered(model: EditableModel, samples: Sequence[Sample], batch_size: int) -> list[bool]:
    right: list[bool] = []
    for start in range(0, len(samples), batch_size):
        part = samples[start : start + batch_size]
        batch = model.encode([sample.prompt for sample in part], [sample.target for sample in part])
        right += model.greedy_match(batch).tolist()
    return right


def _size(factors: Factors, row: int, norm: Norm) -> float:
    """The size of one entry of a row's gradient. The product is made for one matrix and row at a time."""
    gradient = factors.matrix(row).float()
    return float(gradient.abs().mean() if norm == "l1" else gradient.square().mean().sqrt())
