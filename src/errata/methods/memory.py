"""Memory: a gate at one block opens to a table of learned values that is read softly.

A baseline of GRACE (arXiv:2211.11031): values addressed by the softmax of an affine map of the state, with no discrete
keys. The released code replaces the block's output everywhere by one vector; here the read takes the place of the
states that a gate opens for, position by position. Gate and training are those of `defer`: on the edits alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from errata.methods._adapted import Adaptor, AdaptorConfig
from errata.methods._base import option, register_method
from errata.solve.adaptors import Frame, SlotsDraft


@register_method("memory", paper="arXiv:2211.11031", patch="adaptor")
class Memory(Adaptor):
    """A learned gate at one block with a table of values behind it, read by softmax."""

    @dataclass(frozen=True)
    class Config(AdaptorConfig):
        slots: int = option(100, "values in the table")

    def draft(self, frame: Frame) -> SlotsDraft:
        return SlotsDraft(frame, max(1, self.config.slots), self.config.seed)
