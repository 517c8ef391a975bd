"""Do edits hold in conversation? Facts of CounterFact that a chat model knows, corrected one after another, then asked.

    python benchmarks/conversation.py --model smollm2 --n 100 --method auto --out conversation.json
    python benchmarks/conversation.py --n 20 --others 20 --batch-size 20 --split tune \\
        --method ike --option place=user --option encoder=words

Every edit replaces the object in the model's own answer to one wording of the question. Asked at the end, under free
generation: the question itself; the same question under another system prompt, as the third turn of an unrelated
conversation, with a trailing space, without its question mark, in lower case, with a polite opening; wordings that
nothing was learned from; and what must stay: the same subject's other relations, other subjects, general chat. A
fact is used if the model's answer holds the true object; where there are too few, the rest are facts that it gets
wrong. Facts of subjects that scope was learned from are left out. `--split` chooses facts: settings were chosen on
"tune", reported is "report".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from errata import Edit, Editor
from errata.datasets import get
from errata.evaluate.figures import share
from errata.evaluate.texts import Reference, general_texts
from errata.lab.questions import templates
from errata.models import EditableModel
from errata.progress import TerminalProgress
from errata.prompts import Conversation, Message
from errata.scope import Index
from errata.scope.encoders import encoder_for
from errata.scope.vocabulary import Vocabulary
from errata.statistics.relations import alike
from errata.statistics.scoping import lessons, scope_for

SYSTEM = "You are a librarian who answers in one short sentence."
TALK = (
    ("Hi, how are you today?", "I am fine, thank you. How can I help you?"),
    ("Can you name a fruit that is red?", "An apple can be red."),
)
POLITE = "Could you tell me {}"
GENERAL = (
    "Write a haiku about rain.", "What is 17 plus 25?", "How do I boil an egg?", "Tell me a joke about cats.",
    "Why is the sky blue?", "Give me three tips for sleeping well.", "Translate 'good morning' into Spanish.",
    "What is the difference between a frog and a toad?", "Suggest a name for a small bakery.",
    "How many days are there in a leap year?", "Explain photosynthesis in one sentence.", "Who are you?",
    "Write a short thank-you note to a teacher.", "What should I pack for a weekend at the beach?",
    "List four primary emotions.", "How does a bicycle stay upright?", "What is a good synonym for happy?",
    "Describe the taste of a lemon.", "How can I learn to juggle?", "What does HTTP stand for?",
    "Give me a recipe for pancakes.", "What is the boiling point of water?", "Write a slogan for a coffee shop.",
    "How do plants drink water?", "What is the plural of mouse?", "Recommend a hobby for a rainy day.",
    "Why do cats purr?", "What is the square root of 81?", "How do I tie a tie?", "What causes thunder?",
    "Write a limerick about a dog.", "How long does it take to roast a chicken?", "What is machine learning?",
    "Name five vegetables.", "How do I write a cover letter?", "What is the largest planet?", "Define gravity.",
    "What are the colours of the rainbow?", "How do I remove a coffee stain?", "Tell me something interesting.",
)  # fmt: skip


KINDS = (
    "its own question", "another system prompt", "third turn", "trailing space", "no question mark", "lower case",
    "polite opening",
)  # fmt: skip
LONGEST = 144  # tokens of an answer to the question itself; of others the first 48


@dataclass(frozen=True)
class Known:
    """A fact that the model knows: its question, the object in the model's answer, and another one."""

    subject: str
    relation: str
    question: str
    true: str
    new: str


def facts(split: str) -> list[Known]:
    """CounterFact's facts as questions: half of the subjects each for "tune" and "report"."""
    taught = {lesson.subject.casefold() for lesson in lessons()}
    found, seen = [], set()
    for row in get("counterfact").rows():
        rewrite = row["requested_rewrite"]
        subject, relation = rewrite["subject"], rewrite["relation_id"]
        half = hashlib.sha256(subject.encode()).digest()[0] % 2
        if subject.casefold() in taught or subject in seen or half != ("report", "tune").index(split):
            continue
        try:
            question = templates(relation, "seen")[0].replace("{}", subject)
        except KeyError:
            continue
        seen.add(subject)
        found.append(Known(subject, relation, question, rewrite["target_true"]["str"], rewrite["target_new"]["str"]))
    random.Random(0).shuffle(found)
    return found


def says(answer: str, span: str) -> bool:
    return re.search(rf"\b{re.escape(span)}\b", answer) is not None


def known(editor: Editor, candidates: Sequence[Known], wanted: int) -> tuple[list[Known], list[Known]]:
    """The first facts whose true object is in the model's answer, and those among them that the model gets wrong."""
    kept: list[Known] = []
    wrong: list[Known] = []
    for start in range(0, len(candidates), 64):
        part = candidates[start : start + 64]
        answers = editor.generate([fact.question for fact in part], max_new_tokens=48)
        for fact, text in zip(part, answers, strict=True):
            (kept if says(text, fact.true) else wrong).append(fact)
        print(f"  {len(kept)} of {start + len(part)} known", flush=True)
        if len(kept) >= wanted:
            break
    return kept[:wanted], wrong


def edit_of(fact: Known, known: bool) -> Edit:
    """The edit of a fact: a word of the model's own answer, or a whole answer where that is wrong anyway."""
    if known:
        return Edit(fact.question, replace=((fact.true, fact.new),), subject=fact.subject)
    return Edit(fact.question, f"{fact.new}.", subject=fact.subject)


def in_conversation(question: str) -> dict[str, str]:
    """The question as it comes up in conversations."""
    user = Message("user", question)
    turns = [message for said, answer in TALK for message in (Message("user", said), Message("assistant", answer))]
    polite = POLITE.format(question[:1].lower() + question[1:])
    alone = (question + " ", question.rstrip("?"), question.lower(), polite)
    talks = [[user], [Message("system", SYSTEM), user], [*turns, user], *([Message("user", text)] for text in alone)]
    return dict(zip(KINDS, map(Conversation, talks), strict=True))


def other_relations(fact: Known, rng: random.Random) -> str:
    """A question about the same subject that asks for something else."""
    near = alike(fact.relation)
    people = ("P19", "P20", "P27", "P101", "P103", "P106", "P108", "P140", "P1303", "P1412", "P39", "P413", "P937")
    things = ("P17", "P30", "P36", "P37", "P127", "P131", "P136", "P159", "P176", "P178", "P364", "P449", "P495")
    pool = [one for one in (people if fact.relation in people else things) if one not in near and has(one)]
    return templates(rng.choice(pool), "held_out")[0].replace("{}", fact.subject)


def has(relation: str) -> bool:
    try:
        return bool(templates(relation, "seen"))
    except KeyError:
        return False


def clause(text: str) -> str:
    """The first clause of an answer, normalised: "the same answer"."""
    return re.split(r"[.,;!?\n]", text.strip())[0].casefold().strip()


def decide(model: EditableModel, split: str, encoder: str, keys: int) -> None:
    """Print what scope alone decides of the facts of a split, without a word being generated."""
    chosen = facts(split)
    bound, others = chosen[:keys], chosen[keys : keys + 400]
    scorer, vocabulary = scope_for(model, encoder).scorer, Vocabulary.of(model)
    index = Index(scorer, encoder_for(encoder, model), vocabulary, [fact.question for fact in bound])
    taken = [index.search(fact.question)[0].inside for fact in others]
    print(f"of {len(others)} questions about other subjects {sum(taken)} are in the scope of one of {keys} edits")
    for number in (0, 1):
        asked = [templates(fact.relation, "held_out")[number].replace("{}", fact.subject) for fact in bound]
        hits = [index.search(text)[0] for text in asked]
        found = sum(hit.inside and hit.key == place for place, hit in enumerate(hits))
        print(f"held-out wording {number + 1}: {found} of {keys} are in the scope of their own edit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--asked", type=int, default=100, help="edits whose conversations and wordings are asked")
    parser.add_argument("--others", type=int, default=100, help="facts of other subjects that are asked")
    parser.add_argument("--batch-size", type=int, default=1, help="edits made together")
    parser.add_argument("--split", default="report", choices=("tune", "report"))
    parser.add_argument("--method", default="auto")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scope-only", action="store_true", help="say what scope decides; generate nothing")
    args = parser.parse_args()
    if args.scope_only:
        options = dict(pair.split("=", 1) for pair in args.option)
        return decide(EditableModel.load(args.model), args.split, options.get("encoder", "words"), args.n)
    rng = random.Random(1)
    editor = Editor(EditableModel.load(args.model))
    right, wrong = known(editor, facts(args.split), args.n + args.others)
    others = right[-args.others :]
    edited = [*right[: -args.others], *wrong][: args.n]
    asked = edited[: args.asked]
    kept = {
        "other subjects": [Conversation([Message("user", fact.question)]) for fact in others],
        "same subject, other relation": [Conversation([Message("user", other_relations(f, rng))]) for f in asked],
        "general chat": [Conversation([Message("user", text)]) for text in GENERAL],
    }
    before = {kind: editor.generate(prompts, max_new_tokens=32) for kind, prompts in kept.items()}
    texts = Reference(editor.editable, general_texts(editor.editable, 16))
    reads_before = texts.perplexity(16)
    options = dict(pair.split("=", 1) for pair in args.option)
    started = time.perf_counter()
    editor.editable.progress = TerminalProgress()
    edits = [edit_of(fact, fact in right) for fact in edited]
    receipt = editor.edit(edits, args.method, batch_size=args.batch_size, progress=True, **options)
    seconds = time.perf_counter() - started
    targets = [result.target for result in receipt.results]
    made = f"{len(receipt.done)} of {len(edits)} edits in {seconds:.0f} s, {args.batch_size} at a time"
    print(f"{receipt.how}: {made}", flush=True)
    figures: dict[str, dict[str, float]] = {}

    def report(name: str, hits: Sequence[bool]) -> None:
        figure = share(enumerate(map(float, hits)))
        assert figure is not None
        figures[name] = {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}
        print(f"  {name:<36} {figure.value:6.1%} [{figure.low:.1%}, {figure.high:.1%}]  n={figure.n}", flush=True)

    def ask(prompts: Sequence[str]) -> list[str]:
        return editor.generate(list(prompts), max_new_tokens=48)

    own = editor.generate([fact.question for fact in edited], max_new_tokens=LONGEST)
    report("says the target and ends", [said == target for said, target in zip(own, targets, strict=True)])
    report("says the new object", [says(said, fact.new) for said, fact in zip(own, edited, strict=True)])
    for kind in KINDS:
        said = ask([in_conversation(fact.question)[kind] for fact in asked])
        report(kind, [says(text, fact.new) for text, fact in zip(said, asked, strict=True)])
    for number in (0, 1):
        wordings = [templates(f.relation, "held_out")[number].replace("{}", f.subject) for f in asked]
        report(f"held-out wording {number + 1}", [says(t, f.new) for t, f in zip(ask(wordings), asked, strict=True)])
    for kind, prompts in kept.items():
        now = editor.generate(prompts, max_new_tokens=32)
        pairs = list(zip(before[kind], now, strict=True))
        report(f"{kind}: same answer", [clause(old) == clause(new) for old, new in pairs])
        report(f"{kind}: same text", [old == new for old, new in pairs])
    print(f"  perplexity of prose: {reads_before:.4f} before, {texts.perplexity(16):.4f} now")
    editor.undo(*receipt.ids)
    again = {kind: editor.generate(prompts, max_new_tokens=32) for kind, prompts in kept.items()}
    print(f"  undone: answers as before: {again == before}")
    if args.out:
        told = {"model": args.model, "method": receipt.how, "n": args.n, "split": args.split, "seconds": seconds}
        args.out.write_text(json.dumps({**told, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
