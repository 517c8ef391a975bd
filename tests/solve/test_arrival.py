"""What an MLP writes arrives at its block's output, or editing it is refused."""

import pytest

from errata.errors import BadModel
from errata.solve.arrival import require_arrival
from tiny import CAUSAL, tiny_model


@pytest.mark.parametrize("arch", sorted(set(CAUSAL) - {"gemma2"}))
def test_plain_and_parallel_blocks_pass(arch: str) -> None:
    for layer in (0, 3):
        require_arrival(tiny_model(arch), layer)


def test_a_norm_after_the_mlp_is_noticed() -> None:
    with pytest.raises(BadModel, match=r"block 1 of .* normalises"):
        require_arrival(tiny_model("gemma2"), 1)
