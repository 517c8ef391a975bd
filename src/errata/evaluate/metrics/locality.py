"""Locality as agreement: the share of unrelated questions that the model still answers as it did before any edit.

After MEND and EasyEdit (Mitchell et al., 2022; Yao et al., 2023), whose figure is "tokens": the share of tokens of the
earlier answer, forced upon the model, that are still its first choice. Whether the earlier answer was right is another
question: see `gold_accuracy`. The two are never mixed.
"""

from __future__ import annotations

from collections.abc import Sequence

from errata.evaluate.evidence import Answer, Evidence, sorts
from errata.evaluate.figures import Figure, share
from errata.evaluate.grading import first_clause
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import first_choices


@register_metric("locality", better="higher", needs=("locality",))
def locality(evidence: Evidence) -> Figures:
    """Share of questions no edit is about whose free answer is the one of the model before; by sort of question too.

    "answer" compares first clauses alone.
    """
    answers = evidence.of("locality")
    return {
        **{about: _agreement(part) for about, part in sorts(answers).items()},
        "": _agreement(answers),
        **{f"{about}-answer": _same_answer(part) for about, part in sorts(answers).items()},
        "answer": _same_answer(answers),
        "tokens": first_choices((answer.unit, answer.kept) for answer in answers if answer.kept is not None),
    }


def _same_answer(answers: Sequence[Answer]) -> Figure | None:
    """Share whose first clause is the one of before."""
    return share((answer.unit, first_clause(answer.said) == first_clause(answer.before)) for answer in answers)


def _agreement(answers: Sequence[Answer]) -> Figure | None:
    return share((answer.unit, answer.said == answer.before) for answer in answers)
