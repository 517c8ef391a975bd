"""Which matrix SaLEM should rewrite: an editor for each block of a lab model beside the one of salience's choice.

    python benchmarks/layers.py --model lab:bert --out editors/ --plot layers.png > layers.jsonl

For the down-projection of every block and for the most salient matrix: one JSON line as `benchmarks/learned.py` prints
it, with "place", and a plot of salience, accuracy and drawdown by block. An editor in OUT is used again. Further
arguments are options of the method.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from errata.cli.edit import split
from errata.models import EditableModel
from learned import options_of_a_trial, tried

SALIENT = "salient"


def main() -> None:
    parser = options_of_a_trial(__doc__)
    parser.add_argument("--plot", type=Path, required=True, help="where the plot goes (PNG)")
    given, rest = parser.parse_known_args()
    _, options = split(rest)
    model = EditableModel.load(given.model)
    lines = []
    for place in (SALIENT, *range(len(model.arch))):
        folder = given.out / f"{given.model.replace(':', '-')}-salem-{place}"
        line = {"model": given.model, "place": place}
        line |= tried(model, "salem", {**options, "layer": str(place), "among": "all"}, folder, given)
        print(json.dumps(line), flush=True)
        lines.append(line)
    draw(lines, given.plot)


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy and drawdown by block, one panel each, with the salient matrix's own figure as a line across."""
    chosen, *blocks = lines
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "drawdown"), strict=True):
        where = [line["place"] for line in blocks]
        means = [line[name]["mean"] for line in blocks]
        errors = [1.96 * line[name]["std"] / line[name]["n"] ** 0.5 for line in blocks]
        axes.bar(where, means, yerr=errors, color="#9ab8d3", capsize=3)
        matrix = chosen["training"]["salience"][0]
        axes.axhline(chosen[name]["mean"], color="#b3432b", label=f"salient: block {matrix['block']}, {matrix['role']}")
        axes.set(xlabel="block whose MLP is rewritten", ylabel=name, xticks=where)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle(f"SaLEM on {chosen['model']}, batches of {chosen['batch']} unseen edits (95 % intervals)")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
