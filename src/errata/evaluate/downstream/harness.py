"""The edited model as lm-evaluation-harness (Gao et al., 2024) sees a model: it asks, the model's forward answers.

Log-likelihoods and greedy texts come from `EditableModel` with explicit masks and positions, so that neither padding
nor the size of a batch changes what an edit does. Knows the harness's requests; knows no task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from errata.editor import Editor
from errata.errors import BadConfig, BadEdit, BadModel
from errata.evaluate.asking import ROWS
from errata.evaluate.texts import HELD
from errata.models import EditableModel
from errata.models.decoding import continue_greedily
from errata.models.encoding import Batch, end_id, prompt_ids

LONGEST = 256  # tokens of a generated answer where the task does not say, as in the harness
WINDOW = 2048  # tokens read at once by a model that has no limit of its own
Pair: TypeAlias = tuple[Sequence[int], Sequence[int]]  # what is read, and what is scored after it
Score: TypeAlias = tuple[float, bool]  # log-likelihood in nats, and whether it is what greedy decoding writes


class Harness(TemplateLM):
    """A causal model with the edits in force, for `lm_eval.evaluate(lm=Harness(editor), …)`.

    It is the model as it is at the moment of each request: edits made or undone in between count. Do not use the
    harness's cache of answers (`use_cache`), which knows nothing of edits.
    """

    def __init__(self, model: Editor | EditableModel, *, progress: bool = False) -> None:
        """Take an editor or its model. Raises: BadModel (it is not causal)."""
        super().__init__()
        self.editable = model.editable if isinstance(model, Editor) else model
        if self.editable.task != "causal":
            raise BadModel(f"{self.editable.name} is not a causal model, and downstream tasks need one; name another")
        self.tokenizer = self.editable.tokenizer
        self._device = self.editable.device
        self._progress = progress

    @property
    def eot_token_id(self) -> int:
        return end_id(self.editable)

    @property
    def prefix_token_id(self) -> int:
        """What a text without context is read after."""
        start = self.editable.tokenizer.bos_token_id
        return self.eot_token_id if start is None else cast(int, start)

    @property
    def tokenizer_name(self) -> str:
        return self.editable.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids as the model reads a prompt, or without special tokens."""
        if add_special_tokens is False:
            bare = self.editable.tokenizer(string, add_special_tokens=False, verbose=False)
            return cast(list[int], bare["input_ids"])
        return prompt_ids(self.editable, [string])[0]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Nats of whole texts, each token scored once; what does not fit the model is read in windows."""
        windows = [(row, pair) for row, request in enumerate(requests) for pair in self._windows(str(request.args[0]))]
        totals = [0.0] * len(requests)
        for (row, _), (nats, _) in zip(windows, self._scores([pair for _, pair in windows]), strict=True):
            totals[row] += nats
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations, cut before the first of the task's stop texts. Raises: BadConfig (it samples)."""
        settings = [_Stopping.of(cast(tuple[Any, ...], request.args)[1]) for request in requests]
        written: dict[int, str] = {}
        for length in sorted({setting.tokens for setting in settings}):
            places = [place for place, setting in enumerate(settings) if setting.tokens == length]
            rows = [self._context(str(requests[place].args[0]), length) for place in places]
            for place, text in zip(places, self._continued(rows, length), strict=True):
                written[place] = settings[place].cut(text)
        return [written[place] for place in range(len(requests))]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[Score]:
        return self._scores([(read or [self.prefix_token_id], scored) for _, read, scored in requests])

    @torch.no_grad()
    def _scores(self, pairs: Sequence[Pair]) -> list[Score]:
        """The score of each pair; pairs of like length share a forward."""
        found: dict[int, Score] = {}
        hidden = not self._progress
        with self.editable.evaluating(), tqdm(total=len(pairs), unit="text", disable=hidden, leave=False) as bar:
            for part in self._parts(pairs):
                found |= dict(zip(part, self._scored([pairs[place] for place in part]), strict=True))
                bar.update(len(part))
        return [found[place] for place in range(len(pairs))]

    def _scored(self, pairs: Sequence[Pair]) -> list[Score]:
        """Left padding puts everything that is scored into the last positions, and only those get logits."""
        keep = max(len(scored) for _, scored in pairs)
        logits = self.editable.forward(self._batch([self._read(pair) for pair in pairs]), keep=keep)
        log_probs = logits.float().log_softmax(-1)
        return [_score(row[-len(scored) :], scored) for row, (_, scored) in zip(log_probs, pairs, strict=True)]

    def _read(self, pair: Pair) -> list[int]:
        """What the model reads to score a pair: all but the last token, less on the left what does not fit."""
        whole, context = [*pair[0], *pair[1]], self.editable.context
        if context is not None and len(pair[1]) > context:
            raise BadEdit(f"an answer has {len(pair[1])} tokens; the model reads at most {context}: leave it out")
        return whole[-(context + 1) : -1] if context is not None else whole[:-1]

    def _parts(self, pairs: Sequence[Pair]) -> Iterator[list[int]]:
        """Places of pairs that are scored together: no more rows than `ROWS`, no more logits than `HELD`."""
        vocabulary = self.editable.model.config.get_text_config().vocab_size
        part: list[int] = []
        keep = 0
        for place in sorted(range(len(pairs)), key=lambda place: len(pairs[place][0]) + len(pairs[place][1])):
            keep = max(keep, len(pairs[place][1]))
            if part and (len(part) == ROWS or (len(part) + 1) * keep * vocabulary > HELD):
                yield part
                part, keep = [], len(pairs[place][1])
            part.append(place)
        if part:
            yield part

    def _continued(self, rows: Sequence[Sequence[int]], tokens: int) -> list[str]:
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        found: dict[int, str] = {}
        with self.editable.evaluating():
            for start in range(0, len(order), ROWS):
                part = order[start : start + ROWS]
                ids = continue_greedily(self.editable, self._batch([rows[place] for place in part]), tokens)
                texts = [str(self.editable.tokenizer.decode(row, skip_special_tokens=True)) for row in ids]
                found |= dict(zip(part, texts, strict=True))
        return [found[place] for place in range(len(rows))]

    def _context(self, text: str, tokens: int) -> list[int]:
        """A prompt's ids, less on the left what leaves no room for so many tokens to follow."""
        ids, context = prompt_ids(self.editable, [text])[0] or [self.prefix_token_id], self.editable.context
        if context is None:
            return ids
        if tokens >= context:
            raise BadConfig(f"the task asks for {tokens} tokens and the model reads {context}; lower max_gen_toks")
        return ids[-(context - tokens) :]

    def _windows(self, text: str) -> list[Pair]:
        ids = prompt_ids(self.editable, [text])[0]
        room = self.editable.context or WINDOW
        return [make_disjoint_window(pair) for pair in get_rolling_token_windows(ids, self.prefix_token_id, room, 1)]

    def _batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        """Token ids as a left-padded batch."""
        tensors = [torch.tensor(row) for row in rows]
        ids = pad_sequence(tensors, batch_first=True, padding_value=self.editable.pad_id, padding_side="left")
        mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True, padding_side="left")
        query = torch.full((len(rows),), ids.shape[1] - 1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return Batch(ids, mask, query, [[] for _ in rows], position_ids=positions).to(self.editable.device)


class _Stopping:
    """When a generated answer ends: after so many tokens, or before one of some texts."""

    def __init__(self, tokens: int, until: Sequence[str]) -> None:
        self.tokens, self.until = tokens, until

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> _Stopping:
        heat = options.get("temperature")
        if options.get("do_sample", bool(heat)) and heat != 0:
            raise BadConfig("the task asks to sample, and answers are greedy here; set do_sample: false in the task")
        until = options.get("until") or []
        return cls(int(options.get("max_gen_toks", LONGEST)), [until] if isinstance(until, str) else list(until))

    def cut(self, text: str) -> str:
        """The text before the first of the stop texts in it."""
        found = [text.find(stop) for stop in self.until if stop and stop in text]
        return text[: min(found, default=len(text))]


def _score(log_probs: torch.Tensor, scored: Sequence[int]) -> Score:
    """Of ids whose log-probabilities stand in (n, V)."""
    ids = torch.tensor(scored, device=log_probs.device)
    nats = log_probs.gather(1, ids[:, None]).double().sum()
    return float(nats), bool((log_probs.argmax(-1) == ids).all())
