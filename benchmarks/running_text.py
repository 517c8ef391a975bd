"""Do edits hold in running text? Facts of CounterFact that a real model knows, corrected one after another, then asked.

    python benchmarks/running_text.py --model smollm2 --n 100 --method scoped --option encoder=words --out text.json

Prompts are continued as they stand, greedily. Asked at the end: the prompts themselves; paraphrases in wordings that
nothing was learned from, each after an unrelated sentence; and what must stay: neighbours (the same relation and old
answer), sentences about the same subject that ask for something else, known facts that no edit is about, prose.
"Unchanged" is counted twice: the same answer is the same first clause, the same text all 16 tokens. Settings were
chosen on "tune", reported is "report". With more edits than the model knows facts the rest are facts that it gets
wrong.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from errata import Edit, Editor
from errata.evaluate.figures import share
from errata.evaluate.grading import exact, first_clause, says
from errata.evaluate.texts import Reference, general_texts
from errata.lab.known import Known, known_facts
from errata.models import EditableModel
from errata.progress import TerminalProgress
from errata.prompts import RawText

LONGEST = 16  # tokens of an answer
TEXTS = 16


def as_text(edit: Edit) -> Edit:
    return Edit(edit.prompt, edit.target, edit.subject, raw=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--asked", type=int, default=100, help="edits whose paraphrases and neighbours are asked")
    parser.add_argument("--batch-size", type=int, default=1, help="edits made together")
    parser.add_argument("--split", default="report", choices=("tune", "report"))
    parser.add_argument("--method", default="scoped")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    options = dict(pair.split("=", 1) for pair in args.option)
    found: Known = known_facts()
    source = Known(**{**vars(found), "half": args.split, "most": args.n})
    edits, others = source.edits(), [RawText(probe.prompt) for probe in source.upstream()]
    asked = edits[: args.asked]
    editor = Editor(EditableModel.load(args.model))
    kept: dict[str, list[tuple[int, str]]] = {"other known facts": list(enumerate(others))}
    for kind in ("neighbour", "same_subject"):
        kept[kind] = [(n, RawText(p.prompt)) for n, edit in enumerate(asked) for p in edit.locality if p.kind == kind]

    def ask(prompts: Iterable[str]) -> list[str]:
        return editor.generate(list(prompts), max_new_tokens=LONGEST)

    before = {kind: ask(prompt for _, prompt in prompts) for kind, prompts in kept.items()}
    texts = Reference(editor.editable, general_texts(editor.editable, TEXTS))
    reads = texts.perplexity(TEXTS)
    editor.editable.progress = TerminalProgress()
    started = time.perf_counter()
    receipt = editor.edit(list(map(as_text, edits)), args.method, batch_size=args.batch_size, progress=True, **options)
    seconds = time.perf_counter() - started
    print(f"{receipt.how}: {len(receipt.done)} of {len(edits)} edits in {seconds:.0f} s", flush=True)
    figures: dict[str, dict[str, float]] = {}

    def tell(name: str, hits: Sequence[tuple[int, bool]]) -> None:
        figure = share((unit, float(hit)) for unit, hit in hits)
        if figure is not None:
            figures[name] = {"value": figure.value, "low": figure.low, "high": figure.high, "n": len(hits)}
            print(f"  {name:<32} {figure.value:6.1%} [{figure.low:.1%}, {figure.high:.1%}]  n={len(hits)}", flush=True)

    own = list(zip(ask(RawText(edit.prompt) for edit in edits), edits, strict=True))
    tell("says the target and ends", [(n, exact(said, edit.target)) for n, (said, edit) in enumerate(own)])
    tell("says the target", [(n, says(said, edit.target)) for n, (said, edit) in enumerate(own)])
    wordings = [(n, one, edit.target) for n, edit in enumerate(asked) for one in edit.rephrases]
    answers = ask(RawText(one) for _, one, _ in wordings)
    tell("other wordings say the target", [(n, says(a, t)) for (n, _, t), a in zip(wordings, answers, strict=True)])
    for kind, prompts in kept.items():
        pairs = list(zip(prompts, before[kind], ask(prompt for _, prompt in prompts), strict=True))
        tell(f"{kind}: same answer", [(n, first_clause(old) == first_clause(new)) for (n, _), old, new in pairs])
        tell(f"{kind}: same text", [(n, old == new) for (n, _), old, new in pairs])
    print(f"  perplexity of prose: {reads:.4f} before, {texts.perplexity(TEXTS):.4f} now")
    editor.undo(*receipt.ids)
    print(f"  undone: answers as before: {ask(prompt for _, prompt in kept['neighbour']) == before['neighbour']}")
    if args.out:
        told = {"model": args.model, "method": receipt.how, "n": args.n, "split": args.split, "seconds": seconds}
        args.out.write_text(json.dumps({**told, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
