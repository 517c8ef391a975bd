"""A study as Markdown, JSON and one plot: the mean gain of every method in every ball.

Knows findings; how a drawing becomes a file `drawing` knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from errata.durable import write_atomic
from errata.evaluate.canonical.folder import Folder
from errata.evaluate.canonical.outcome import Findings, Outcome, TaskBefore, findings
from errata.evaluate.figures import Figure
from errata.evaluate.report.drawing import INK, Panel, Plot, colour, marker, png

MARKDOWN, DATA, PICTURE = "report.md", "report.json", "gains.png"
SPREAD = 0.16  # between methods of one ball, on an axis on which balls are 1 apart


def write(folder: Folder, out: Path) -> list[Path]:
    """Write the report into the directory `out`, over an earlier one; each file is whole or absent. Returns them."""
    found = findings(folder)
    content = {MARKDOWN: markdown(folder, found).encode(), DATA: _data(folder, found)}
    if found.means:
        content[PICTURE] = png(_gains(folder, found))
    out.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        write_atomic(out / name, data)
    return [out / name for name in content]


def told(folder: Folder, found: Findings) -> dict[str, Any]:
    """The findings as JSON values."""
    return {
        "title": folder.plan.title, "model": folder.plan.model, "missing": found.missing,
        "before": {name: _plain(task) for name, task in found.before.items()},
        "means": [{"method": label, "ball": ball, **_plain(one)} for (label, ball), one in found.means.items()],
        "tasks": [
            {"method": label, "ball": ball, "task": task, **_plain(one)}
            for (label, ball, task), one in found.tasks.items()
        ],
    }  # fmt: skip


def markdown(folder: Folder, found: Findings) -> str:
    """The report as documentation quotes it; gains are in points of a hundred, with 95 % intervals."""
    plan = folder.plan
    lines = [f"# {plan.title or 'Canonical examples'}", "", f"`{plan.model}`, {plan.examples} examples a run, "
             f"seeds {', '.join(map(str, plan.seeds))}.", "", "## Before any edit", "", *_before(found)]  # fmt: skip
    over = ", ".join(found.measured) or "no task"
    lines += ["", "## Mean gain", "", f"Points of success on what is scored, over {over}.", "", *_means(folder, found)]
    for task in found.before:
        lines += ["", f"## {task}", "", *_task(folder, found, task)]
    if found.missing:
        lines += ["", f"{found.missing} runs are still to come: `errata bench --resume` goes on."]
    return "\n".join([*lines, "", *_notes(found)]) + "\n"


def _before(found: Findings) -> Iterator[str]:
    yield "| task | goal | examples done | scored done | mean, nats | threshold | gain without a ball | |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, task in found.before.items():
        verdict = f"not measurable here: {task.unmeasurable}" if task.unmeasurable else ""
        moved = _points(task.moved) if task.moved else "-"
        yield (
            f"| {name} | {task.goal} | {_percent(task.train)} | {_percent(task.eval)} | {task.loss:.2f} "
            f"| {task.threshold:.3f} | {moved} | {verdict} |"
        )


def _means(folder: Folder, found: Findings) -> Iterator[str]:
    balls = folder.plan.balls
    yield "| method | " + " | ".join(f"ball {ball:g}" for ball in balls) + " | runs kept |"
    yield "|---" * (len(balls) + 2) + "|"
    for label in [entrant.label for entrant in folder.plan.methods]:
        ours = [found.means.get((label, ball)) for ball in balls]
        kept = [one.runs - sum(one.lost.values()) for one in ours if one]
        cells = [_points(one.gain) if one else "-" for one in ours]
        runs = f"{sum(kept)} of {sum(one.runs for one in ours if one)}"
        yield f"| {label} | {' | '.join(cells)} | {runs if kept else '-'} |"


def _task(folder: Folder, found: Findings, task: str) -> Iterator[str]:
    yield "| method | ball | gain | hard negatives' loss, nats | loss on held-out prose | options | |"
    yield "|---|---|---|---|---|---|---|"
    for entrant in folder.plan.methods:
        for ball in folder.plan.balls:
            if one := found.tasks.get((entrant.label, ball, task)):
                yield f"| {entrant.label} | {ball:g} | {_points(one.gain)} | {_rest(one)} |"


def _rest(one: Outcome) -> str:
    hard = f"{one.hard.value:+.3f} [{one.hard.low:+.3f}, {one.hard.high:+.3f}]" if one.hard else "-"
    rise = "-" if one.rise is None else f"{100 * one.rise:+.3f} %"
    options = " ".join(f"{name}={value}" for name, value in (one.config or {}).items())
    left = ", ".join(f"{count} of {one.runs} {word}" for word, count in one.lost.items())
    return f"{hard} | {rise} | {options} | {left}"


def _notes(found: Findings) -> Iterator[str]:
    """Why methods lost runs, each reason once."""
    seen = dict.fromkeys((label, one.problem) for (label, _, _), one in found.tasks.items() if one.problem)
    for label, problem in seen:
        yield f"* {label}: {problem}"


def _points(figure: Figure) -> str:
    return f"{100 * figure.value:+.1f} [{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]"


def _percent(figure: Figure) -> str:
    return f"{figure.value:.1%} (n={figure.n})"


def _plain(one: TaskBefore | Outcome) -> dict[str, Any]:
    return asdict(one)


def _data(folder: Folder, found: Findings) -> bytes:
    return (json.dumps(told(folder, found), ensure_ascii=False, indent=1) + "\n").encode()


def _gains(folder: Folder, found: Findings) -> Plot:
    labels = [entrant.label for entrant in folder.plan.methods]
    points = {
        label: [(place, found.means[label, ball].gain) for place, ball in enumerate(folder.plan.balls)
                if (label, ball) in found.means]
        for label in labels
    }  # fmt: skip
    alt = "; ".join(
        f"{label} {', '.join(f'{_points(gain)} in {folder.plan.balls[place]:g}' for place, gain in ours)}"
        for label, ours in points.items() if ours
    )  # fmt: skip

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=INK, linewidth=0.8)
        for at, (label, ours) in enumerate(points.items()):
            if ours:
                _draw(axes, label, at, (at - (len(labels) - 1) / 2) * min(SPREAD, 0.8 / len(labels)), ours)
        axes.set_xticks(range(len(folder.plan.balls)), [f"{ball:g}" for ball in folder.plan.balls])
        axes.set(xlabel="ball: how far loss on general text may rise", ylabel="gain, points")
        axes.legend(fontsize=7, frameon=False, ncols=2)

    title = f"Mean gain on {folder.plan.model}"
    return Plot("gains", title, "Bars are 95 % intervals.", (Panel(title, alt, draw),))


def _draw(axes: Axes, label: str, at: int, aside: float, ours: Sequence[tuple[int, Figure]]) -> None:
    gains = [gain for _, gain in ours]
    arms = [[100 * (gain.value - gain.low) for gain in gains], [100 * (gain.high - gain.value) for gain in gains]]
    axes.errorbar(
        [place + aside for place, _ in ours], [100 * gain.value for gain in gains], yerr=arms,
        color=colour(at), marker=marker(at), linestyle="none", elinewidth=1, label=label,
    )  # fmt: skip
