"""A scorer made by hand, for tests that are about what becomes of a decision and not about how it is learned."""

from __future__ import annotations

import torch

from errata.models import EditableModel
from errata.scope.learning import Calibration
from errata.scope.scorer import WIDTH, Metric, Scorer


def by_words(model: EditableModel) -> Scorer:
    """In scope is what shares three quarters of its rare words, both ways."""
    width = 2 * model.width
    weights = torch.zeros(WIDTH)
    weights[3:5] = 10.0
    return Scorer("words", Metric(torch.zeros(width), torch.eye(width)), weights, -15.0)


def calibrated(model: EditableModel, encoder: str, form: str = "chat", *, seed: int = 0) -> Calibration:
    """Stands in for `scope_for`."""
    return Calibration(by_words(model), 1.0, {}, 0)
