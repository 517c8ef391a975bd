"""What looking up whose question a text asks costs, among 10 to 1,000,000 questions.

    python benchmarks/scope_index.py --sizes 10,1000,100000,1000000 --out scope_index.json
    python benchmarks/scope_index.py --sizes 100000 --no-faiss

Questions are the package's wordings about made-up names. The texts that are looked up ask some of them in held-out
wordings, and as many ask about other subjects. A lookup is `search` without the encoding of the text, which has its own
column. Bytes are what the process grew by. "same" is the share of texts with the same decision (which question is
in scope, or none) as comparing each with every question gives.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from errata.datasets import get
from errata.lab.questions import templates
from errata.models import EditableModel
from errata.scope import Index, Scorer
from errata.scope.encoders import Encoder, encoder_for
from errata.scope.index import APPROXIMATE_FROM
from errata.scope.partition import available
from errata.scope.vocabulary import Vocabulary
from errata.statistics.scoping import scope_for
from errata.words import views

RELATIONS = ("P103", "P106", "P136", "P159", "P178", "P19", "P27", "P30", "P37", "P740", "capital", "founded")
SYLLABLES = ("ba", "den", "fi", "gor", "lan", "mi", "nor", "pel", "ri", "sto", "tas", "ul", "ver", "wen", "zo")
MADE = 8000  # names that are made up, beside those of CounterFact
COLUMNS = ("questions", "faiss", "build s", "bytes each", "encode ms", "median ms", "p95 ms", "extend ms", "remove ms")


def questions(part: Any, seed: int) -> Iterator[str]:
    """Questions about names, without end: with the same seed those of either part are about the same subjects."""
    rng, found = random.Random(seed), get("counterfact").rows()
    known = {word for row in found for word in row["requested_rewrite"]["subject"].split() if word[0].isupper()}
    draw = random.Random(0)
    made = {"".join(draw.choices(SYLLABLES, k=draw.choice((2, 3, 4)))).capitalize() for _ in range(MADE)}
    names = sorted(known | made)
    while True:
        subject = " ".join(rng.sample(names, rng.choice((1, 2, 2, 2, 3))))
        relation, wording = rng.choice(RELATIONS), rng.random()
        asked = templates(relation, part)
        yield asked[int(wording * len(asked) / 2)].replace("{}", subject)


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return 4096 * pages


def milliseconds(job: Callable[[Any], object], values: list[Any]) -> list[float]:
    """Time a job for each of some values, after a few that do not count."""
    for value in values[:5]:
        job(value)
    taken = []
    for value in values:
        started = time.perf_counter()
        job(value)
        taken.append(1e3 * (time.perf_counter() - started))
    return taken


def measure(
    parts: tuple[Scorer, Encoder, Vocabulary], size: int, approximate_from: int | None, compared: bool
) -> dict[str, Any]:
    """Return one line of the table."""
    before, started = resident(), time.perf_counter()
    index = Index(*parts, islice(questions("seen", 0), size), approximate_from=approximate_from)
    seconds, grown = time.perf_counter() - started, resident() - before
    step = max(1, size // 200)
    own, foreign = islice(questions("held_out", 0), 0, 200 * step, step), islice(questions("held_out", 1), 200)
    texts = [*own, *foreign]
    placed = {text: (asked := views(text), index._place(asked)) for text in texts}

    def look_up(text: str) -> None:
        asked, queries = placed[text]
        for view, query, rows in zip(asked, queries, index._candidates(asked, queries), strict=True):
            index._score_rows(view, query, rows)

    encode = milliseconds(lambda text: index._place(views(text)), texts)
    lookups = milliseconds(look_up, texts)
    latest = [index]

    def extend(text: str) -> None:
        latest[0] = latest[0].extended([text])

    extending = milliseconds(extend, texts[:50])
    removing = milliseconds(lambda key: index.without([key]), list(range(0, size, max(1, size // 20))))
    same = None
    if compared:
        exact = index._of(index._storage, index._limit, index._gone)
        exact._approximate_from = None
        same = statistics.mean(decision(index, text) == decision(exact, text) for text in texts)
    return {
        "questions": size, "faiss": index._approximate, "build s": seconds, "bytes each": grown / size,
        "encode ms": statistics.median(encode), "median ms": statistics.median(lookups),
        "p95 ms": statistics.quantiles(lookups, n=20)[-1], "extend ms": statistics.median(extending),
        "remove ms": statistics.median(removing), "same": same,
    }  # fmt: skip


def decision(index: Index, text: str) -> int | None:
    best = index.search(text)[0]
    return best.key if best.inside else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--sizes", default="10,100,1000,10000,100000", help="numbers of questions")
    parser.add_argument("--faiss", action=argparse.BooleanOptionalAction, default=available())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = EditableModel.load(args.model)
    parts = scope_for(model, "words").scorer, encoder_for("words", model), Vocabulary.of(model)
    Index(*parts, islice(questions("seen", 2), 10)).search("What is this?")
    rows = []
    print("  ".join(f"{name:>10}" for name in (*COLUMNS, "same")), flush=True)
    for size in map(int, args.sizes.split(",")):
        rows.append(measure(parts, size, APPROXIMATE_FROM if args.faiss else None, args.faiss))
        shown = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in rows[-1].values()]
        print("  ".join(f"{value:>10}" for value in shown), flush=True)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
