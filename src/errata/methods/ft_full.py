"""Full fine-tuning: every parameter moves, embeddings and norms included.

The baseline of the editing literature that costs a whole model: its patch is about as large as the model. Plain
cross-entropy on the target's tokens, its end included; nothing holds it back.
"""

from __future__ import annotations

from errata.edits import GOALS
from errata.methods._base import register_method
from errata.methods._tuned import Tuned, TuningConfig
from errata.models import EditableModel


@register_method("ft-full", paper="arXiv:2402.06155", patch="weights", goals=GOALS)
class FullFineTuning(Tuned):
    """Adam on every parameter until every target is the greedy answer."""

    Config = TuningConfig

    def names(self, model: EditableModel) -> list[str]:
        return [name for name, parameter in model.model.named_parameters() if parameter.is_floating_point()]
