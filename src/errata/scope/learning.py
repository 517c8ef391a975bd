"""Learning a scorer from lessons: a projection by contrast, weights by logistic loss, a border for stated rates.

Everything is learned on subjects of its own: the projection and the weights on some, the border on others. Knows
lessons, an encoder and a vocabulary; no files and no cache.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import softplus

from errata.scope.contrast import EVERY, learn_metric
from errata.scope.encoders import Encoder, SplitEncoder
from errata.scope.index import Index
from errata.scope.lessons import Lesson, Relation, politely, split, swapped
from errata.scope.scorer import WIDTH, Form, Metric, Scorer, features
from errata.scope.vocabulary import Vocabulary
from errata.words import words

RATES: Mapping[Form, Mapping[str, float]] = {
    "chat": {"neighbour": 0.01, "same_subject": 0.03, "text": 0.001},
    "text": {"neighbour": 0.02, "same_subject": 0.03, "text": 0.001},
}
"""By form, the share of each kind of foreign text that may be taken for an edit's question."""
DIMENSIONS = 256
ASKED = 64  # dimensions that tell relations apart
STEPS = 400
LESSONS = 48  # in one step
LEARNED = 0.75  # share of the subjects that the projection and the weights are learned on
NEIGHBOURS = 4  # texts of other subjects made for a lesson

Report = Callable[[int], object]


@dataclass(frozen=True)
class Calibration:
    """A scorer, and what was measured on subjects it had not seen.

    Attributes:
        found: share of other wordings that are in the scope of their own question.
        rates: by kind, the share of foreign texts in scope of some question.
        lessons: how many questions stood in the index meanwhile.
    """

    scorer: Scorer
    found: float
    rates: Mapping[str, float]
    lessons: int


def learn(
    lessons: Sequence[Lesson], prose: Sequence[str], encoder: Encoder, vocabulary: Vocabulary, report: Report,
    seed: int, *, relations: Sequence[Relation] = (),
) -> Calibration:  # fmt: skip
    """Learn a scorer for an encoder's vectors.

    Args:
        lessons: at least some hundreds, with other wordings and other questions about their subjects.
        prose: ordinary text in which no question is asked.
        report: is told the number of steps made.
        relations: what is asked, in wordings without a subject; where there are some, what is left of a text without
            its names is compared as well.
    """
    learned, measured = split(lessons, LEARNED, seed)
    cards = _Cards(learned, encoder, seed)
    draft = Scorer(encoder.name, _learn_metric(cards, report, seed), torch.zeros(WIDTH), 0.0)
    if relations:
        draft = replace(draft, relation=_learn_relation(relations, encoder, report, seed))
        encoder = SplitEncoder(encoder, vocabulary)
        cards.vectors = encoder.encode(cards.texts)
    weights, bias = _weigh(draft, cards, vocabulary, report, seed)
    made = replace(draft, weights=weights, bias=bias)
    crowd, unseen = ([lesson for lesson in part if len(lesson.wordings) > 1] for part in (learned, measured))
    rates = RATES["text" if relations else "chat"]
    return _bounded(made, crowd, unseen, prose, encoder, vocabulary, rates)


class _Cards:
    """Texts of lessons with their vectors, to draw from."""

    def __init__(self, lessons: Sequence[Lesson], encoder: Encoder, seed: int) -> None:
        rng = random.Random(seed)
        self.lessons, groups = lessons, _by_relation(lessons)
        self.relations = {name: [lessons.index(one) for one in group] for name, group in groups.items()}
        self.texts: list[str] = []
        self.wordings: list[list[int]] = []
        self.all: list[list[int]] = []  # the wordings, and those in another form
        self.others: list[list[int]] = []
        for lesson in lessons:
            said = lesson.questions or lesson.wordings
            polite = [politely(wording, rng) for wording in rng.sample(said, min(2, len(said)))]
            own = self._add([*lesson.wordings, *polite])
            self.all.append(own + self._add(lesson.questions))
            self.wordings.append(own[: len(lesson.wordings)] if lesson.questions else own)
            self.others.append(self._add([*lesson.others, *_neighbours(lesson, groups[lesson.relation], rng)]))
        self.vectors = encoder.encode(self.texts)

    def _add(self, texts: Sequence[str]) -> list[int]:
        first = len(self.texts)
        self.texts += texts
        return list(range(first, len(self.texts)))

    def draw(self, rng: random.Random, count: int) -> list[int]:
        """Draw lessons, many of them of the same few relations: those are the hard ones to tell apart."""
        drawn: dict[int, None] = {}
        many = [places for places in self.relations.values() if len(places) > 1]
        while many and len(drawn) < 0.75 * count:
            places = rng.choice(many)
            drawn |= dict.fromkeys(rng.sample(places, min(8, len(places))))
        drawn |= dict.fromkeys(rng.sample(range(len(self.lessons)), min(count // 4 + 1, len(self.lessons))))
        return list(drawn)[:count]


def _by_relation(lessons: Sequence[Lesson]) -> dict[str, list[Lesson]]:
    groups: dict[str, list[Lesson]] = {}
    for lesson in lessons:
        groups.setdefault(lesson.relation, []).append(lesson)
    return groups


def _neighbours(lesson: Lesson, group: Sequence[Lesson], rng: random.Random) -> list[str]:
    """The question about other subjects of which it is asked too, in its own wordings."""
    drawn = (swapped(lesson, rng.choice(group), rng) for _ in range(NEIGHBOURS))
    return [text for text in drawn if text is not None and lesson.subject not in text]


def _learn_metric(cards: _Cards, report: Report, seed: int) -> Metric:
    """Learn under which metric wordings of a question lie closest to one another, beside questions of the same relation
    and others about the same subject."""

    def draw(rng: random.Random) -> tuple[list[int], list[int]]:
        drawn = cards.draw(rng, LESSONS)
        pairs = [rng.sample(cards.all[place], 2) for place in drawn]
        others = [rng.choice(cards.others[place]) for place in drawn if cards.others[place]]
        return [one for one, _ in pairs], [two for _, two in pairs] + others

    return learn_metric(cards.vectors, draw, dimensions=DIMENSIONS, steps=STEPS, report=report, seed=seed)


def _learn_relation(relations: Sequence[Relation], encoder: Encoder, report: Report, seed: int) -> Metric:
    """Learn under which metric wordings of one relation, without a subject, lie closest to one another."""
    texts = [text for relation in relations for text in relation.wordings]
    sizes = [len(relation.wordings) for relation in relations]
    places = [list(range(end - size, end)) for size, end in zip(sizes, accumulate(sizes), strict=True)]

    def draw(rng: random.Random) -> tuple[list[int], list[int]]:
        drawn: list[int] = []
        for one in rng.sample(range(len(relations)), len(relations)):
            if len(drawn) < LESSONS and not any(relations[other].name in relations[one].alike for other in drawn):
                drawn.append(one)
        pairs = [rng.sample(places[one], 2) for one in drawn]
        return [one for one, _ in pairs], [two for _, two in pairs]

    vectors = encoder.encode([" ".join(words(text.replace("{}", " "))) for text in texts])
    return learn_metric(vectors, draw, dimensions=ASKED, steps=STEPS, report=report, seed=seed)


def _weigh(
    draft: Scorer, cards: _Cards, vocabulary: Vocabulary, report: Report, seed: int
) -> tuple[Tensor, float]:
    """Return weights (WIDTH,) >= 0 and a bias by which a question's own wordings score above all others' texts."""
    rng = random.Random(seed + 1)
    able = [place for place, wordings in enumerate(cards.wordings) if len(wordings) > 1]
    chosen = rng.sample(able, min(400, len(able)))
    half = len(chosen) // 2
    keys, foreign = chosen[:half], chosen[half:]
    own = [(row, text) for row, place in enumerate(keys) for text in cards.wordings[place][1:]]
    strange = [text for place in keys for text in cards.others[place]]
    strange += [rng.choice(cards.wordings[place]) for place in foreign]
    asked = [text for _, text in own] + strange
    placed = draft.place(cards.vectors)
    cosines = placed[asked] @ placed[[cards.wordings[place][0] for place in keys]].T
    bags = [vocabulary.bag(text) for text in cards.texts]
    # Beside its own question a text is compared with the nearest others alone: those decide.
    near = cosines.topk(min(6, len(keys)), dim=1).indices
    owners = torch.tensor([row for row, _ in own] + [-1] * len(strange))
    looks = torch.cat([near, owners.clamp_min(0)[:, None]], 1)
    rows = torch.arange(len(asked))[:, None].expand_as(looks)
    pairs = [
        (bags[cards.wordings[keys[key]][0]], bags[asked[row]])
        for row, key in zip(rows.flatten().tolist(), looks.flatten().tolist(), strict=True)
    ]
    found = features(cosines[rows.flatten(), looks.flatten()], pairs).unflatten(0, looks.shape)
    return _logistic(found, looks == owners[:, None], report)


def _logistic(found: Tensor, right: Tensor, report: Report) -> tuple[Tensor, float]:
    """Fit weights >= 0 to features (n, m, WIDTH): of every text the best foreign question counts, and its own."""
    raw, bias = torch.zeros(found.shape[-1], requires_grad=True), torch.tensor(-5.0, requires_grad=True)
    optimizer = torch.optim.Adam([raw, bias], lr=0.05)
    has = right.any(1)
    for step in range(STEPS):
        scores = found @ softplus(raw) + bias
        foreign = scores.masked_fill(right, -1e9).max(1).values
        own = scores.masked_fill(~right, -1e9).max(1).values
        loss = softplus(-own[has]).mean() + softplus(foreign[has]).mean() + 2 * softplus(foreign[~has]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVERY == EVERY - 1:
            report(EVERY)
    return softplus(raw).detach(), float(bias.detach())


def _bounded(
    draft: Scorer, crowd: Sequence[Lesson], lessons: Sequence[Lesson], prose: Sequence[str], encoder: Encoder,
    vocabulary: Vocabulary, rates: Mapping[str, float],
) -> Calibration:  # fmt: skip
    """Set the border on subjects that nothing was learned from, so that no kind of foreign text exceeds its rate.

    Half of them have a question in the index, beside those of the `crowd`: the more questions of one kind there are,
    the more often one of them is near.
    """
    subjects = sorted({lesson.subject for lesson in lessons})
    kept = set(subjects[::2])
    keys = [lesson for lesson in lessons if lesson.subject in kept]
    index = Index(draft, encoder, vocabulary, [lesson.wordings[0] for lesson in (*keys, *crowd)])
    rng, groups = random.Random(0), _by_relation([one for one in lessons if one.subject not in kept])
    beside = [text for one in keys for text in _neighbours(one, groups.get(one.relation, [one]), rng)]
    beside += [text for one in lessons if one.subject not in kept for text in one.wordings[:2]]
    foreign = {
        "neighbour": list(dict.fromkeys(beside)),
        "same_subject": [text for lesson in keys for text in lesson.others],
        "text": list(prose),
    }
    scores = {kind: torch.tensor([_best(index, text) for text in texts]) for kind, texts in foreign.items() if texts}
    border = max(float(torch.quantile(found, 1 - rates[kind])) for kind, found in scores.items())
    own = [(place, index.search(text)) for place, one in enumerate(keys) for text in one.wordings[1:]]
    right = [hits and hits[0].key == place and hits[0].score > border for place, hits in own]
    return Calibration(
        replace(draft, bias=draft.bias - border),
        found=sum(map(bool, right)) / max(1, len(right)),
        rates={kind: float((found > border).float().mean()) for kind, found in scores.items()},
        lessons=len(keys) + len(crowd),
    )


def _best(index: Index, text: str) -> float:
    hits = index.search(text)
    return hits[0].score if hits else -100.0
