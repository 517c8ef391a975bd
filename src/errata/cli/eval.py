"""`errata eval`: what a sheet's edits did, asked with them and without, and a gate that the figures must pass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common
from errata.errors import BadSheet
from errata.plain import plain
from errata.prompts import one_line

if TYPE_CHECKING:
    from errata.evaluate.evidence import Answer
    from errata.evaluate.figures import Figure
    from errata.evaluate.gate import Verdict
    from errata.evaluate.probing import Report

SHOWN = 5
FELL_SHORT = 1


@click.command()
@click.argument("questions", required=False, metavar="[FILE|DATASET]")
@common.sheet_option
@common.model_option
@click.option("--gate", help="Conditions to pass, such as locality>=0.99,drawdown<=0.001; exit code 1 if one fails.")
@click.option("--strict", is_flag=True, help="Let the gate judge the unfavourable end of each 95 % interval.")
@click.option("--metrics", help="Only these metrics, with commas between.")
@click.option("--texts", type=click.Path(path_type=Path), help="General text for perplexity and kl, UTF-8.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write figures and all answers as JSON.")
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), show_default="64 in chat, else 24", help="Longest answer."
)
@common.json_option
def command(
    questions: str | None,
    sheet: Path,
    model: str | None,
    gate: str | None,
    strict: bool,
    metrics: str | None,
    texts: Path | None,
    out: Path | None,
    max_new_tokens: int | None,
    as_json: bool,
) -> int:
    """Ask the model with a sheet's edits and without, and say what they fixed and what else they moved.

    Asked is what the sheet's own edits came with: their prompts, rephrases, consequences, and questions that they must
    not move. Or what a file or data set of edits comes with. Or the questions of FILE, one JSON object a line:

    \b
      {"prompt": "The capital of Italy is", "answer": "Rome"}
      {"prompt": "Rome is the capital of", "answer": "Italy", "kind": "locality", "about": "inverse"}

    A chat model reads a prompt as the user's message; `"messages": [...]` asks a whole conversation, and `"raw": true`
    continues plain text.

    `kind` is upstream (the default: no edit is about it), locality, reliability, generalization, portability or
    robustness. The first two need no answer: right is then what the model says without the edits. `about` is a word
    of your own, by which figures are told apart.
    """
    common.quiet()
    from errata.evaluate.gate import Gate
    from errata.evaluate.probing import answer_tokens, evaluate, questions_about, read_questions
    from errata.evaluate.texts import general_texts

    judge = Gate.parse(gate, strict=strict) if gate else Gate(())
    with common.open_editor(sheet, model) as editor:
        state, longest = editor.state, max_new_tokens or answer_tokens(editor)
        asked = read_questions(questions, state, chat=editor.in_chat) if questions else questions_about(state)
        if not asked:
            if editor.state.active():
                raise BadSheet(f"{sheet} has canonical examples alone, which ask no questions; name a file of some")
            raise BadSheet(f"no edit of {sheet} is in force and no questions were given; name a file of them")
        report = evaluate(
            editor, asked, _names(metrics, judge.metrics), max_new_tokens=longest, progress=not as_json,
            texts=general_texts(editor.editable, path=texts) if texts else None,
        )  # fmt: skip
        base = {"sheet": str(sheet), "model": editor.editable.name, "questions": questions}
    verdicts = judge.check(report.figures)
    row = {**base, "max_new_tokens": longest, **report.to_json(), "gate": [v.to_json() for v in verdicts]}
    if out:
        _write(out, row)
    if as_json:
        common.print_json([row])
    else:
        _print(report, verdicts, base, named=metrics is not None)
        if out:
            click.echo(f"figures and all answers written to {out}")
    return 0 if all(verdict.passed for verdict in verdicts) else FELL_SHORT


def _names(metrics: str | None, gated: Sequence[str]) -> list[str] | None:
    """The metrics asked for, and those that the gate reads; None for the default ones, if those are enough."""
    from errata.evaluate.probing import default_metrics

    chosen = [name.strip() for name in metrics.split(",")] if metrics else default_metrics()
    return list(dict.fromkeys([*chosen, *gated]))


def _write(path: Path, row: dict[str, Any]) -> None:
    from errata.durable import write_atomic

    write_atomic(path, (json.dumps(plain(row), ensure_ascii=False, indent=1) + "\n").encode())


def _print(report: Report, verdicts: Sequence[Verdict], base: Mapping[str, str | None], *, named: bool) -> None:
    from errata.evaluate.probing import must_follow

    count = f"{report.evidence.edits} edits in force, {len(report.evidence.answers)} questions asked"
    click.echo(f"{base['model']}, {base['sheet']}: {count} with the edits and without\n")
    _print_figures(report.figures, parts=named)
    for name, reason in report.unmeasured.items() if named else ():
        click.echo(f"{name}: not measured ({reason})")
    if not named:
        click.echo("before: without the edits; n: edits, texts or matrices. More: --metrics NAME (parts too), --json")
    for edited, told in ((True, "are not what the edits ask for"), (False, "moved though no edit is about them")):
        asked = [answer for answer in report.evidence.answers if must_follow(answer) == edited]
        broken = [answer for answer in report.broken() if must_follow(answer) == edited]
        if asked:
            legend = ": prompt, without edits -> with them" if broken else ""
            click.echo(f"\n{len(broken)} of {len(asked)} answers {told}{legend}")
            _print_answers(broken)
    if verdicts:
        click.echo()
    for verdict in verdicts:
        click.echo(f"gate {verdict}")
        if not verdict.passed:
            _print_answers(report.broken(verdict.condition.name))


def _print_figures(figures: Mapping[str, Figure], *, parts: bool) -> None:
    """Metric by metric: what reads an edit's own prompt first, general text last."""
    from errata.evaluate.metrics._base import meaning, needs
    from errata.evaluate.questions import KINDS

    order = (*KINDS, "texts", "continuations", "weights")
    metrics = dict.fromkeys(name.partition(".")[0] for name in figures)
    click.echo(f"{'figure':<20} {'before':>8} {'value':>8}  {'95 % interval':<18} {'n':>4}  meaning")
    for metric in sorted(metrics, key=lambda name: (order.index(needs(name)[0]), len(needs(name)))):
        if metric in figures or parts:
            before = figures.get(f"{metric}.before")
            told = f"{f'{before.value:.4g}' if before else '':>8} {_told(figures.get(metric))}"
            click.echo(f"{metric:<20} {told}  {meaning(metric)}")
        for name in figures if parts else ():
            if name.startswith(f"{metric}."):
                click.echo(f"{name.removeprefix(metric):>20} {'':>8} {_told(figures[name])}")


def _told(figure: Figure | None) -> str:
    if figure is None:
        return " " * 34
    value, low, high = (f"{number:.4g}" for number in (figure.value, figure.low, figure.high))
    return f"{value:>8}  {f'[{low}, {high}]':<18} {figure.n:>4}"


def _print_answers(answers: Sequence[Answer]) -> None:
    """What was asked and said: the worst of each edit, then the rest."""
    from errata.evaluate.probing import must_follow

    worst = {answer.unit: answer for answer in reversed(answers)}
    ordered = sorted(answers, key=lambda answer: answer is not worst[answer.unit])
    for answer in ordered[:SHOWN]:
        wanted = f" (expected {answer.expected!r})" if must_follow(answer) else ""
        asked = one_line(answer.question.prompt)
        click.echo(f"  {answer.question.name}  {asked}  {answer.before!r} -> {answer.said!r}{wanted}")
    if len(answers) > SHOWN:
        click.echo(f"  ... and {len(answers) - SHOWN} more (--out FILE has them all)")
