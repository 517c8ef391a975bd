"""Canonical examples (Hewitt et al., 2024, arXiv:2402.06155): one short example of a behaviour, tested far from it.

Knows how the six published folders are laid out and what each asks for. The data state no licence and are never in
the package: `at` takes the user's own copy.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import cycle
from math import log
from typing import Any, Literal, NamedTuple

from errata import fields
from errata.datasets._base import Dataset, Example, read_example
from errata.edits import Edit, Probe
from errata.errors import BadEdit
from errata.fields import Fields
from errata.formats import Record, read_records

Goal = Literal["raise", "lower", "balance", "contrast"]
Part = Literal["train", "eval", "hard_negatives", "text"]
Split = Literal["val", "test"]

# thresholds, nats: the probability, or the ratio of two, at which the paper counts an example as done
RAISED_A_FIFTH = -log(0.2)
RAISED_A_TWENTIETH = -log(0.05)
LOWERED_TO_A_THOUSANDTH = -log(0.001)
BALANCED_WITHIN_A_HALF = log(1.5)
SIXTEEN_TIMES_LIKELIER = log(16)

# the texts of stereoset begin with GPT-2's end of text, an artefact of their making
ARTEFACT = "<|endoftext|>"


class Files(NamedTuple):
    """What a folder's files are called, before "-val.jsonl" and "-test.jsonl"."""

    train: str
    eval: str
    hard_negatives: str
    text: str


@dataclass(frozen=True)
class Canonical(Dataset):
    """One of the six tasks; its path is the published folder: `data/`, the task's own, or its `split/`.

    Attributes:
        goal: what an edit must do to an evaluated example: "raise" the probability of its one choice, "lower"
            it, "balance" its two choices, or "contrast" them: lift the first above the second.
        threshold: when that counts as done, in nats: NLL(choice) <= threshold to raise, >= threshold to lower,
            |NLL(first) - NLL(second)| <= threshold to balance, NLL(second) - NLL(first) >= threshold to
            contrast; each NLL summed over the choice's tokens.
        files: the names of the folder's files.
        about: the field that names whom a record is about; every task with the goal "raise" has one.
    """

    goal: Goal = field(kw_only=True)
    threshold: float = field(kw_only=True)
    files: Files = field(kw_only=True)
    about: str | None = field(default=None, kw_only=True)

    @property
    def holds(self) -> str:
        return "edits, examples" if self.goal == "raise" else "examples"

    def rows(self, part: Part = "eval", split: Split = "test") -> list[dict[str, Any]]:
        """The published records of one file. Raises BadEdit when there is no such file or it is malformed."""
        return [record.value for record in self._part(part, split)]

    def examples(self, part: Part = "eval", split: Split = "test") -> list[Example]:
        """The examples of one file; their kind is the part.

        Args:
            part: "train", "eval" (what is scored), "hard_negatives" (what must not change) or "text" (plain text
                of the task, whole in its one choice).
            split: tune on "val", report "test".

        Raises:
            BadEdit: there is no such file, or a record is malformed.
        """
        return [example for _, example in self._read(part, split)]

    def edits(self, split: Split = "test") -> list[Edit]:
        """The examples to learn from as edits, with what is evaluated: the first example of a prompt counts.

        The prompts of "eval" on the same subject and with the same answer are an edit's rephrases; where no
        answer is the same, they are portability probes of the kind "eval". Hard negatives are locality probes of
        the kind "hard_negative", at the edit of their subject; those of other subjects are dealt out in turn.

        Raises:
            BadEdit: the task states no answer (all goals but "raise"); a file is missing or malformed.
        """
        if self.goal != "raise":
            raise BadEdit(f"data set '{self.name}' asks to {self.goal} probabilities, as no edit can; use its examples")
        trained: dict[str, tuple[str, Example]] = {}
        for about, example in self._about("train", split):
            trained.setdefault(example.prompt, (about, example))
        after, beside = defaultdict(list), defaultdict(list)
        for about, example in self._about("eval", split):
            after[about].append(example)
        subjects = [about for about, _ in trained.values()]
        turns = cycle(subjects)
        for about, example in self._about("hard_negatives", split):
            beside[about if about in subjects else next(turns)].append(example)
        return [_as_edit(example, after[about], beside[about]) for about, example in trained.values()]

    def _about(self, part: Part, split: Split) -> list[tuple[str, Example]]:
        return [(record.value[self.about], example) for record, example in self._read(part, split)]

    def _read(self, part: Part, split: Split) -> list[tuple[Record, Example]]:
        records = self._part(part, split)
        return [(record, read_example(record, lambda value: self._example(part, value))) for record in records]

    def _example(self, part: Part, record: Fields) -> Example:
        if part == "text":
            return Example("", (fields.text(record, "text").removeprefix(ARTEFACT).strip(),), 0, kind=part)
        names = ("suffix",) if part == "hard_negatives" or "suffix" in record else ("suffix1", "suffix2")
        asked = part == "hard_negatives" or self.goal in ("raise", "contrast")
        prompt = fields.text(record, "prefix").strip()
        about = fields.text(record, self.about) if self.about else ""
        return Example(
            prompt=prompt,
            choices=tuple(fields.text(record, name).strip() for name in names),
            gold=0 if asked else None,
            subject=about if about and about in prompt else None,
            kind=part,
        )

    def _part(self, part: Part, split: Split) -> list[Record]:
        folder, stem = self._file(), f"{getattr(self.files, part)}-{split}.jsonl"
        task = self.name.removeprefix("canonical-").replace("-", "_")
        for place in (folder, folder / "split", folder / task / "split"):
            for path in (place / stem, place / f"{stem}.gz"):
                if path.is_file():
                    return read_records(path)
        raise BadEdit(f"{folder}: there is no {stem} in it, nor in {task}/split/; pass the published folder 'data'")


def canonical(name: str, records: int, description: str, **what: Any) -> Canonical:
    """The task `canonical-<name>`; `what` are the fields that Canonical adds to a Dataset."""
    return Canonical(
        name=f"canonical-{name}",
        description=description,
        licence="none stated",
        source="github.com/john-hewitt/model-editing-canonical-examples, data/ (arXiv:2402.06155)",
        records=records,
        path=None,
        **what,
    )


def _as_edit(example: Example, after: list[Example], beside: list[Example]) -> Edit:
    same = [other for other in after if other.choices == example.choices]
    follow = [] if same else after  # another answer on the same subject need not follow from this one
    return Edit(
        prompt=example.prompt,
        target=example.choices[0],
        subject=example.subject,
        rephrases=tuple(other.prompt for other in same),
        locality=tuple(Probe(other.prompt, other.choices[0], "hard_negative") for other in beside),
        portability=tuple(Probe(other.prompt, other.choices[0], "eval") for other in follow),
    )
