"""Build the labelled sets of errata/datasets/data, and what EasyEdit adds to CounterFact, from their published files.

    python tools/build_benchmarks.py SOURCES/ src/errata/datasets/data/

SOURCES holds the published files (see data/SOURCES.md) under the names below, gzipped or not. Samples are drawn with a
seed and keep the published order; the same sources give the same bytes.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from build_lab_facts import write_gzip
from errata.formats import read_records

SEED = 20240229
FEVER_CLAIMS = 300
STEREOSET = {"religion": 12, "gender": 83, "race": 102, "profession": 103}  # every record of the two rare types
BLIMP_PAIRS = 20  # a paradigm
BLIMP_FIELDS = ("UID", "field", "linguistics_term", "sentence_good", "sentence_bad")
# what EasyEdit's files add to a CounterFact case, by file
ADDED = {
    "counterfact_portability_gpt4": ("portability",),
    "counterfact_distracting_neighbor": ("unrelated_relation", "distracting_neighborhood_prompts"),
    "counterfact_subject_replace": ("alternative_subject",),
}

Row = dict[str, Any]


def read(sources: Path, name: str) -> list[Row]:
    """The records of the published file NAME.json[l][.gz]."""
    [path] = [path for path in sources.rglob("*") if path.name.removesuffix(".gz") in (f"{name}.json", f"{name}.jsonl")]
    return [record.value for record in read_records(path)]


def sample(rows: list[Row], key: Callable[[Row], str], sizes: dict[str, int], rng: random.Random) -> list[Row]:
    """`sizes[k]` rows of each key k, in the order of `rows`."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[key(row)].append(place)
    chosen = {place for name, size in sizes.items() for place in rng.sample(places[name], size)}
    return [rows[place] for place in sorted(chosen)]


def fever(sources: Path, rng: random.Random) -> list[Row]:
    """As many supported, refuted and undecidable claims; without the pointers to Wikipedia's sentences."""
    rows = read(sources, "paper_dev")
    labels = sorted({row["label"] for row in rows})
    chosen = sample(rows, lambda row: row["label"], dict.fromkeys(labels, FEVER_CLAIMS // len(labels)), rng)
    return [{name: row[name] for name in ("id", "label", "claim")} for row in chosen]


def stereoset(sources: Path, rng: random.Random) -> list[Row]:
    """Intrasentence contexts with their three sentences; without the annotators' single votes."""
    chosen = sample(read(sources, "dev"), lambda row: row["bias_type"], STEREOSET, rng)
    return [{name: row[name] for name in ("id", "target", "bias_type", "context", "data")} for row in chosen]


def blimp(sources: Path, rng: random.Random) -> list[Row]:
    """Minimal pairs of every paradigm."""
    rows = read(sources, "blimp")
    paradigms = sorted({row["UID"] for row in rows})
    chosen = sample(rows, lambda row: row["UID"], dict.fromkeys(paradigms, BLIMP_PAIRS), rng)
    return [{name: row[name] for name in BLIMP_FIELDS} for row in chosen]


def counterfact(sources: Path) -> list[Row]:
    """ROME's records, each with the fields that EasyEdit's files add to it."""
    rows = read(sources, "counterfact_full_format_union")
    by_case = {row["case_id"]: row for row in rows}
    for name, added in ADDED.items():
        for row in read(sources, name):
            by_case[row["case_id"]] |= {field: row[field] for field in added if field in row}
    return rows


def write(path: Path, rows: Iterable[Row]) -> None:
    """A minified JSON array, gzipped."""
    rows = list(rows)
    write_gzip(path, json.dumps(rows, ensure_ascii=False, separators=(",", ":")))
    print(f"{path}: {len(rows)} records, {path.stat().st_size:,} bytes")


def main() -> None:
    sources, out = Path(sys.argv[1]), Path(sys.argv[2])
    rng = random.Random(SEED)
    write(out / "counterfact.json.gz", counterfact(sources))
    write(out / "known-1000.json.gz", read(sources, "known_1000"))
    write(out / "convsent.json.gz", read(sources, "benchmark_Convsent_blender_test"))
    write(out / "fever.json.gz", fever(sources, rng))
    write(out / "stereoset.json.gz", stereoset(sources, rng))
    write(out / "blimp.json.gz", blimp(sources, rng))


if __name__ == "__main__":
    main()
