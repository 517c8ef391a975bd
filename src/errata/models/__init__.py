"""The model being edited: one face for causal, encoder-decoder and classification models of any architecture.

It finds blocks, encodes, runs and decodes. It knows no edit, method or patch.
"""

from errata.models.arch import Arch
from errata.models.editable import EditableModel
from errata.models.encoding import Batch

__all__ = ["Arch", "Batch", "EditableModel"]
