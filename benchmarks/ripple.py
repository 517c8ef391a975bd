"""What follows from an edit, and is it said too? Aliases of the subject, one hop, and what the relation entails.

    python benchmarks/ripple.py --model smollm2 --n 60 --option encoder=words

Edits of KnowEdit's WikiCounterFact, made one after another as text and asked at the end, before and after: the prompt
itself, and its portability probes by kind. Measured and not promised: an edit of an answer is bound to its question.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

from errata import Edit, Editor
from errata.datasets import get
from errata.evaluate.figures import share
from errata.evaluate.grading import says
from errata.models import EditableModel
from errata.prompts import RawText

LONGEST = 24  # tokens of an answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dataset", default="wiki-counterfact")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--batch-size", type=int, default=20, help="edits made together")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    editor = Editor(EditableModel.load(args.model))
    edits = get(args.dataset).edits()[: args.n]
    asked: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for number, edit in enumerate(edits):
        asked["the edit's own prompt"].append((number, edit.prompt, edit.target))
        for probe in edit.portability:
            asked[probe.kind or "other"].append((number, probe.prompt, probe.answer or ""))

    def answers() -> dict[str, list[str]]:
        prompts = {kind: [RawText(one) for _, one, _ in rows] for kind, rows in asked.items()}
        return {kind: editor.generate(texts, max_new_tokens=LONGEST) for kind, texts in prompts.items()}

    before = answers()
    options = dict(pair.split("=", 1) for pair in args.option)
    plain = [Edit(edit.prompt, edit.target, edit.subject, raw=True) for edit in edits]
    receipt = editor.edit(plain, args.method, batch_size=args.batch_size, **options)
    print(f"{receipt.how}: {len(receipt.done)} of {len(edits)} edits")
    now = answers()
    for kind, rows in asked.items():
        for when, said in (("before", before), ("after", now)):
            hits = [(n, float(says(one, target))) for (n, _, target), one in zip(rows, said[kind], strict=True)]
            figure = share(hits)
            if figure is not None:
                interval = f"[{figure.low:.1%}, {figure.high:.1%}]"
                print(f"  {kind:<24} {when:<7} {figure.value:6.1%} {interval}  n={len(rows)}")


if __name__ == "__main__":
    main()
