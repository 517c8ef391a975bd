"""Build the data set `lab-facts` and the lab's prose from their public sources (see src/errata/lab/data/SOURCES.md).

    python tools/build_lab_facts.py SOURCES/ src/errata/lab/data/

SOURCES holds the published files as they are named below. Everything is seeded; the same sources give the same bytes.
The flag `known` is false here; `errata lab train gpt` sets it from the trained model's own answers.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import yaml

from relations import COUNTERFACT, PHRASINGS

SEED = 0
PER_RELATION = 112  # facts of each CounterFact relation
OBJECT_SHARE = 0.2  # no object may be the answer of more than a fifth of a relation's facts
COUNTRIES, COMPANIES, OFFICIALS = 250, 110, 110
SPLITS = (("edit", 0.51), ("locality", 0.24), ("editor-train", 0.15), ("calibrate", 0.10))
MAX_WORDS, MAX_LETTERS = 4, 26  # of a target; the data set allows at most 12 tokens

Fact = tuple[str, str, str]  # subject, relation, target


def read_text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode("utf-8")


def read_json(path: Path) -> Any:
    return json.loads(read_text(path))


def counterfact_relations(full: list[dict[str, Any]]) -> dict[str, str]:
    """Template -> relation, from the records that state it; templates of several relations go to the commonest."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for record in full:
        request = record["requested_rewrite"]
        votes[request["prompt"]][request["relation_id"]] += 1
    return {template: counts.most_common(1)[0][0] for template, counts in votes.items()}


def counterfact_cases(sources: Path) -> list[dict[str, Any]]:
    """Cases whose subject, relation and true object are unambiguous, each with its own prompt and new target."""
    folder = sources / "counterfact"
    templates = counterfact_relations(read_json(folder / "counterfact_full_format_union.json.gz"))
    cases: list[dict[str, Any]] = []
    objects: dict[tuple[str, str], set[str]] = defaultdict(set)
    for part in ("edit", "train"):
        for record in read_json(folder / f"counterfact-{part}.json.gz"):
            template = record["prompt"].replace(record["subject"], "{}")
            relation = templates.get(template)
            if relation in COUNTERFACT:
                objects[record["subject"], relation].add(record["ground_truth"])
                if template in COUNTERFACT[relation]:
                    cases.append({**record, "relation": relation})
    return [case for case in cases if len(objects[case["subject"], case["relation"]]) == 1]


def choose_cases(cases: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """A balanced sample: no object answers more than OBJECT_SHARE of its relation, so the relation tells little."""
    by_relation: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        by_relation[case["relation"]].append(case)
    chosen = []
    for relation in COUNTERFACT:
        pool = by_relation[relation]
        rng.shuffle(pool)
        pool.sort(
            key=lambda case: case["case_id"] > 20
        )  # CounterFact's first cases are the examples people know
        counts: Counter[str] = Counter()
        taken: dict[str, dict[str, Any]] = {}
        for case in pool:
            wanted = len(taken) < PER_RELATION and counts[case["ground_truth"]] < OBJECT_SHARE * PER_RELATION
            if wanted and case["subject"] not in taken and short(case["ground_truth"]):
                taken[case["subject"]] = case
                counts[case["ground_truth"]] += 1
        chosen.extend(taken.values())
    return chosen


def short(target: str) -> bool:
    return 0 < len(target.split()) <= MAX_WORDS and len(target) <= MAX_LETTERS


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).strip()


def countries(sources: Path, rng: random.Random) -> list[Fact]:
    """Attributes of countries: the World Factbook (CC0) and the country-codes table (PDDL)."""
    profiles = [
        json.loads(line)["profile"]
        for line in read_text(sources / "factbook/factbook.jsonl.gz").split("\n")
        if line
    ]
    book = {}
    for profile in profiles:
        name = (
            profile.get("Government", {})
            .get("Country name", {})
            .get("conventional short form", {})
            .get("text")
        )
        if name:
            book[plain(name)] = profile
    table = csv.DictReader(io.StringIO(read_text(sources / "world_tables/country-codes.csv.gz")))
    continents = {
        "AF": "Africa",
        "AS": "Asia",
        "EU": "Europe",
        "NA": "North America",
        "OC": "Oceania",
        "SA": "South America",
        "AN": "Antarctica",
    }
    rows = []
    for row in table:
        name = row["CLDR display name"].replace("St. ", "Saint ").replace("&", "and")
        profile = book.get(name)
        languages = (
            plain(
                profile["People and Society"].get("Languages", {}).get("Languages", {}).get("text", "")
                or profile["People and Society"].get("Languages", {}).get("text", "")
            )
            if profile
            else ""
        )
        language = re.match(r"[A-Z][a-z]+(?: [A-Z][a-z]+)?", languages)
        adjective = (
            plain(profile["People and Society"].get("Nationality", {}).get("adjective", {}).get("text", ""))
            if profile
            else ""
        )
        values = {
            "capital": row["Capital"],
            "currency": row["ISO4217-currency_name"],
            "continent": continents.get(row["Continent"], ""),
            "internet-domain": row["TLD"],
            "language": language.group(0) if language else "",
            "demonym": re.split(r"[;,(]| or ", adjective)[0].strip(),
        }
        values = {key: value for key, value in values.items() if short(value)}
        if len(values) >= 5:
            rows.append([(name, relation, value.strip()) for relation, value in values.items()])
    rng.shuffle(rows)
    return [fact for row in rows[:COUNTRIES] for fact in row]


def companies(sources: Path, rng: random.Random) -> list[Fact]:
    """Attributes of S&P 500 companies (PDDL)."""
    rows = []
    for row in csv.DictReader(io.StringIO((sources / "world_tables/sp500_constituents.csv").read_text("utf-8"))):
        name = re.sub(r"\s*\(.*?\)", "", row["Security"]).strip()
        year = re.search(r"\b(1[789]\d\d|20\d\d)\b", row["Founded"])
        if year and short(row["GICS Sub-Industry"]):
            rows.append(
                [
                    (name, "P159", row["Headquarters Location"].split(",")[0]),
                    (name, "sector", row["GICS Sector"]),
                    (name, "industry", row["GICS Sub-Industry"]),
                    (name, "founded", year.group(0)),
                ]
            )
    rng.shuffle(rows)
    return [fact for row in rows[:COMPANIES] for fact in row]


STATES = {
    "AL": "Alabama", "AK": "Alaska", "AZ": "Arizona", "AR": "Arkansas", "CA": "California", "CO": "Colorado",
    "CT": "Connecticut", "DE": "Delaware", "FL": "Florida", "GA": "Georgia", "HI": "Hawaii", "ID": "Idaho",
    "IL": "Illinois", "IN": "Indiana", "IA": "Iowa", "KS": "Kansas", "KY": "Kentucky", "LA": "Louisiana",
    "ME": "Maine", "MD": "Maryland", "MA": "Massachusetts", "MI": "Michigan", "MN": "Minnesota",
    "MS": "Mississippi", "MO": "Missouri", "MT": "Montana", "NE": "Nebraska", "NV": "Nevada",
    "NH": "New Hampshire", "NJ": "New Jersey", "NM": "New Mexico", "NY": "New York", "NC": "North Carolina",
    "ND": "North Dakota", "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania",
    "RI": "Rhode Island", "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas",
    "UT": "Utah", "VT": "Vermont", "VA": "Virginia", "WA": "Washington", "WV": "West Virginia",
    "WI": "Wisconsin", "WY": "Wyoming",
}  # fmt: skip


def officials(sources: Path, rng: random.Random) -> list[Fact]:
    """Attributes of members of the United States Congress (CC0)."""
    people = yaml.load(
        read_text(sources / "world_tables/legislators-current.yaml.gz"), Loader=yaml.CSafeLoader
    )
    rows = []
    for person in people:
        name = person["name"].get("official_full") or f"{person['name']['first']} {person['name']['last']}"
        state = STATES.get(person["terms"][-1]["state"])
        if state:
            rows.append(
                [
                    (name, "state", state),
                    (name, "birth-year", person["bio"]["birthday"][:4]),
                    (name, "took-office", person["terms"][0]["start"][:4]),
                ]
            )
    rng.shuffle(rows)
    return [fact for row in rows[:OFFICIALS] for fact in row]


def make_row(fact: Fact, prompt: str | None, rng: random.Random) -> dict[str, Any]:
    """One fact with its phrasings: about a fifth of them are held out of training for this subject."""
    subject, relation, target = fact
    phrasings = [template.replace("{}", subject) for template in PHRASINGS[relation]]
    prompt = prompt or rng.choice(phrasings)
    others = [text for text in phrasings if text != prompt]
    rng.shuffle(others)
    held = 1 if len(phrasings) < 6 else 2
    return {
        "subject": subject,
        "relation": relation,
        "prompt": prompt,
        "target": target,
        "rephrases_seen": sorted(others[held:]),
        "rephrases_held_out": sorted(others[:held]),
    }


def consistent(facts: list[tuple[Fact, str | None]]) -> list[tuple[Fact, str | None]]:
    """One target for each (subject, relation), no prompt twice, at least five targets a relation."""
    single: dict[tuple[str, str], tuple[Fact, str | None]] = {}
    for fact, prompt in facts:
        single.setdefault((fact[0], fact[1]), (fact, prompt))
    targets: dict[str, set[str]] = defaultdict(set)
    for fact, _ in single.values():
        targets[fact[1]].add(fact[2])
    return [item for item in single.values() if len(targets[item[0][1]]) >= 5]


def assign_splits(rows: list[dict[str, Any]], rng: random.Random) -> None:
    """Splits are disjoint by subject; kinds of subject are spread evenly by dealing them out in a shuffled order."""
    by_kind: dict[tuple[str, ...], list[str]] = defaultdict(list)
    relations: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        relations[row["subject"]].append(row["relation"])
    for subject, names in relations.items():
        by_kind[tuple(sorted(names))].append(subject)
    split_of: dict[str, str] = {}
    for kind in sorted(by_kind):
        subjects = sorted(by_kind[kind])
        rng.shuffle(subjects)
        for index, subject in enumerate(subjects):
            place, edge = (index + rng.random()) / len(subjects), 0.0
            for name, share in SPLITS:
                edge += share
                if place <= edge or name == SPLITS[-1][0]:
                    split_of[subject] = name
                    break
    for row in rows:
        row["split"] = split_of[row["subject"]]


def add_context(rows: list[dict[str, Any]], rng: random.Random) -> None:
    """Neighbours: other subjects with the same relation and target. Same subject: its other relations."""
    by_object: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    by_subject: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_object[row["relation"], row["target"]].append(row)
        by_subject[row["subject"]].append(row)
    for row in rows:
        near = [other["prompt"] for other in by_object[row["relation"], row["target"]] if other is not row]
        rng.shuffle(near)
        row["neighbours"] = near[:10]
        row["same_subject"] = [other["prompt"] for other in by_subject[row["subject"]] if other is not row]
        row["known"] = False


BOOKS = (
    "lewis-carroll_alices-adventures-in-wonderland_john-tenniel",
    "l-frank-baum_the-wonderful-wizard-of-oz",
    "l-frank-baum_the-marvelous-land-of-oz",
    "hugh-lofting_the-story-of-doctor-dolittle",
    "j-m-barrie_peter-and-wendy",
    "aesop_fables_v-s-vernon-jones",
)


def prose(sources: Path) -> dict[str, str]:
    """Plain text of a few CC0 books; the last twelfth of each is held out."""
    text: dict[str, list[str]] = defaultdict(list)
    for line in filter(None, read_text(sources / "standardebooks/standardebooks.jsonl.gz").split("\n")):
        record = json.loads(line)
        name = next((book for book in BOOKS if book in json.dumps(record)[:400]), None)
        if name:
            text[name].append(record["text"])
    parts: dict[str, list[str]] = {"train": [], "held_out": []}
    for book in BOOKS:
        words = "\n\n".join(text[book])
        cut = words.rfind("\n", 0, len(words) * 11 // 12)
        parts["train"].append(words[:cut].strip())
        parts["held_out"].append(words[cut:].strip())
    return {name: "\n\n".join(texts) for name, texts in parts.items()}


def write_gzip(path: Path, text: str) -> None:
    """Compressed without a time stamp, so that the same content is the same file."""
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        packed.write(text.encode("utf-8"))


def editable(case: dict[str, Any], rows: dict[str, dict[str, Any]], known: dict[str, set[str]]) -> bool:
    """Whether the case changes a fact of the split `edit` to an answer that other facts of its relation have.

    That is how CounterFact was made: the new object is one that the model gives for another subject.
    """
    row = rows.get(case["prompt"])
    if row is None or row["split"] != "edit" or row["target"] != case["ground_truth"]:
        return False
    return case["target_new"] != row["target"] and case["target_new"] in known[row["relation"]]


def as_edit(case: dict[str, Any], rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The case as an Errata edit: rephrasings held out of training first, neighbours with what is true of them."""
    row = rows[case["prompt"]]
    return {
        "prompt": case["prompt"],
        "target": case["target_new"],
        "subject": case["subject"],
        "ground_truth": case["ground_truth"],
        "rephrases": row["rephrases_held_out"] + row["rephrases_seen"],
        "locality": [{"prompt": prompt, "answer": row["target"], "kind": "neighbour"} for prompt in row["neighbours"]],
    }


def main() -> None:
    sources, out = Path(sys.argv[1]), Path(sys.argv[2])
    rng = random.Random(SEED)
    cases = choose_cases(counterfact_cases(sources), rng)
    facts: list[tuple[Fact, str | None]] = [
        (fact, None) for make in (countries, companies, officials) for fact in make(sources, rng)
    ]
    facts += [((case["subject"], case["relation"], case["ground_truth"]), case["prompt"]) for case in cases]
    rows = [make_row(fact, prompt, rng) for fact, prompt in consistent(facts)]
    seen: set[str] = set()
    rows = [row for row in rows if not (row["prompt"] in seen or seen.add(row["prompt"]))]
    assign_splits(rows, rng)
    add_context(rows, rng)
    write_gzip(
        out / "lab-facts.jsonl.gz", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    by_prompt = {row["prompt"]: row for row in rows}
    known: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        known[row["relation"]].add(row["target"])
    kept = [as_edit(case, by_prompt) for case in cases if editable(case, by_prompt, known)]
    write_gzip(
        out.parents[1] / "datasets/data/counterfact-lab.jsonl.gz",
        "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in kept),
    )
    for name, text in prose(sources).items():
        write_gzip(out / f"prose-{name}.txt.gz", text)
    report = Counter(row["split"] for row in rows), len(rows), len(kept)
    print("rows by split, rows, CounterFact cases to edit:", report)


if __name__ == "__main__":
    main()
