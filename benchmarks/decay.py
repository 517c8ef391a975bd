"""Decay curves of streams, against edits and against edits over the inner width of what is edited.

    python benchmarks/decay.py --width 1280 --out docs/figures/decay.png results/ more-results/
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

from errata.evaluate.results import Results

SHOWN = {
    "reliability": "edits that hold",
    "generalization": "held-out wordings",
    "locality.neighbour": "neighbours unchanged",
    "upstream-retention": "other facts still right",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--width", type=int, required=True, help="inner width of the edited MLPs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(4 * len(SHOWN) + 3, 3.6), sharey=True, layout="constrained")
    for path in given.results:
        results = Results.open(path)
        each = "one at a time" if results.recipe.size == 1 else f"rounds of {results.recipe.size}"
        for contender in results.recipe.methods:
            rows = [row for row in results.run(contender).figures() if row["edits"] > 1]
            for axis, name in zip(axes, SHOWN, strict=True):
                points = [(row["edits"], row["figures"][name]) for row in rows if name in row["figures"]]
                if points:
                    edits = [at for at, _ in points]
                    (line,) = axis.plot(
                        edits, [one["value"] for _, one in points], marker="o", label=f"{contender.label}, {each}"
                    )
                    low, high = ([one[end] for _, one in points] for end in ("low", "high"))
                    axis.fill_between(edits, low, high, color=line.get_color(), alpha=0.15)
    for axis, title in zip(axes, SHOWN.values(), strict=True):
        axis.set(title=title, xlabel="edits", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        top = axis.secondary_xaxis("top", functions=(lambda n: n / given.width, lambda share: share * given.width))
        top.set_xlabel(f"edits / inner width ({given.width})", fontsize="small")
    axes[0].set_ylabel("share, with 95 % intervals")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(given.out, dpi=110)


if __name__ == "__main__":
    main()
