"""A version: what a sheet at one moment makes of the base model, beside the base and every other version.

Knows which parameters patches write. It runs nothing and knows no sheet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from transformers import PreTrainedModel

from errata.errors import BadModel
from errata.models import EditableModel
from errata.models.twin import twin
from errata.patches.base import Patch, in_force
from errata.patches.records import RecordedPatch
from errata.patches.states import Firing
from errata.patches.weights import WeightPatch


@dataclass(frozen=True, eq=False)
class Version:
    """A model with its patches, immutable. When nobody holds it any more its tensors are freed.

    Attributes:
        head: number of the sheet's last event that it reflects.
        model: shares every parameter and buffer with the base model, but for those that its patches write.
    """

    head: int
    model: EditableModel
    patches: tuple[Patch, ...]

    @classmethod
    def of(cls, base: EditableModel, head: int, patches: Sequence[Patch]) -> Version:
        """The base under these patches. The base stays as it is, bit for bit.

        Raises:
            BadModel: the base has patches of its own.
            WrongModel: a patch does not fit it.
        """
        if in_force(base):
            raise BadModel("the base model of an engine must carry no patches; detach them, or load it anew")
        model = twin(base, _written(base.model, patches))
        model.model.eval()
        for patch in patches:
            patch.attach(model)
        return cls(head, model, tuple(patches))

    @property
    def weight_edits(self) -> int:
        """How many edits its weights hold."""
        return sum(len(patch.edits) for patch in self.patches if isinstance(patch, WeightPatch))

    @contextmanager
    def recording(self) -> Iterator[list[Firing]]:
        """Within the context the list grows by everything that an edit answers.

        Patches may be shared with other versions; only one of them may run meanwhile.
        """
        firings: list[Firing] = []
        with ExitStack() as stack:
            lists = [
                stack.enter_context(patch.record()) for patch in self.patches if isinstance(patch, RecordedPatch)
            ]
            yield firings
            for found in lists:
                firings += found


def _written(network: PreTrainedModel, patches: Sequence[Patch]) -> set[str]:
    """Paths of the parameters that patches write."""
    names = {name for patch in patches if isinstance(patch, WeightPatch) for name in patch.deltas}
    return names & {name for name, _ in network.named_parameters(remove_duplicate=False)}
