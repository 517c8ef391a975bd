"""A look at the model as it was before some or all of its patches, which are in force again afterwards.

Knows patches of any kind. It does not know what they are good for or who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from errata.patches.base import Patch, in_force
from errata.patches.weights import WeightPatch, weights_without

if TYPE_CHECKING:
    from errata.models import EditableModel


@contextmanager
def patches_off(model: EditableModel, off: Callable[[Patch], bool] = lambda _: True) -> Iterator[None]:
    """Inside, the attached patches for which `off` is true are not in force; by default none is.

    Bits and patches are the same again on exit, whatever happens. Attach and detach nothing inside.
    """
    chosen = [patch for patch in in_force(model) if off(patch)]
    others = [patch for patch in chosen if not isinstance(patch, WeightPatch)]
    try:
        for patch in others:
            patch.detach(model)
        with weights_without(model, [patch for patch in chosen if isinstance(patch, WeightPatch)]):
            yield
    finally:
        for patch in others:
            patch.attach(model)
