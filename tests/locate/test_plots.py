"""Pictures are whole PNG files, the same for the same figures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from matplotlib.image import imread

from errata.locate import plots
from errata.locate.facts import Fact
from errata.locate.salience import Salience, Sample
from errata.locate.study import Study
from errata.locate.traces import CLASSES, KINDS, Settings, Trace


def made(kinds: Sequence[str] = KINDS, blocks: int = 5) -> Study:
    generator = torch.Generator().manual_seed(0)
    classes = CLASSES[1:]
    tables = {kind: torch.rand(len(classes), blocks, generator=generator, dtype=torch.float64) for kind in kinds}
    traces = [Trace(Fact("p", "s", "a"), classes, classes, 0.9, corrupted, tables) for corrupted in (0.1, 0.3)]
    return Study("lab:gpt", traces, 1, 0.2, 2, 1.0, Settings())


def is_picture(data: bytes) -> bool:
    pixels = imread(io.BytesIO(data))
    return pixels.ndim == 3 and len({tuple(pixel) for pixel in pixels.reshape(-1, pixels.shape[-1])[::101]}) > 3


def test_effects_are_drawn() -> None:
    assert is_picture(plots.curves(made()))
    data = plots.heat_maps(made())
    assert is_picture(data)
    assert plots.heat_maps(made()) == data


def test_one_kind_of_one_block_is_drawn() -> None:
    assert is_picture(plots.heat_maps(made(["mlp"], blocks=1)))
    assert is_picture(plots.curves(made(["mlp"], blocks=1)))


def test_salience_is_drawn() -> None:
    matrices = [(block, role) for block in range(3) for role in ("mlp_up", "mlp_down", "attn_out")]
    scores = torch.rand(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Salience("m", matrices, [Sample("p", "t", "pass"), Sample("q", "t", "adapt")], scores, "l1")
    assert is_picture(plots.bars(found, 0))
