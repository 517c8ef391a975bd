"""One answer being written: what the scheduler keeps for a row from its first token to its last.

Knows settings, text and the handle to report to. It does not know how rows are batched.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from errata.models import EditableModel
from errata.patches.states import Firing
from errata.serve.engine.request import Finished, Fired, Generation, Reason, Token
from errata.serve.engine.sampling import logprobs
from errata.serve.engine.text import Decoder, TextStream
from errata.serve.engine.version import Version


class Hooks(Protocol):
    """What is told about the engine's work, in its thread: for metrics. Must be quick and must not raise."""

    def started(self, waited: float) -> None:
        """A request got its row after so many seconds."""

    def stepped(self, rows: int, seconds: float) -> None:
        """A forward pass of so many rows."""

    def ended(self, outcome: str, prompt: int, completion: int, fired: int, seconds: float) -> None:
        """A request got an answer ("stop", "length") or not (the error's class), after so many tokens and hits."""


class Answer:
    """An answer and its state as a chooser of tokens.

    Attributes:
        ended: nothing more is to be computed for it.
    """

    def __init__(self, generation: Generation, version: Version, stops: frozenset[int], hooks: Hooks | None) -> None:
        self.generation, self.version = generation, version
        self.sampling = generation.sampling
        self.random = random.Random(self.sampling.seed)
        self.counts: Counter[int] = Counter()
        self.ended = False
        self._hooks, self._stops = hooks, stops
        self._tokens: list[Token] = []
        self._fired: list[Fired] = list(generation.fired)
        self._room = min(self.sampling.max_tokens, room(version.model, len(generation.ids)))
        context = generation.ids if version.model.task == "causal" else ()
        self._text = TextStream(Decoder(version.model.tokenizer, context), self.sampling.stop)
        if hooks:
            hooks.started(time.monotonic() - generation.submitted)

    def fire(self, firing: Firing, position: int) -> None:
        """An edit answered at this position of the row."""
        self._fired.append(Fired(firing.edit, firing.layer, position, firing.distance, firing.radius))

    def take(self, id: int, logits: Tensor) -> None:
        """The next token, chosen under logits (V,)."""
        if id in self._stops:
            self._end("stop")
            return
        self.counts[id] += 1
        self._publish(self._text.push(self._token(id, logits)))
        if self._text.stopped:
            self._end("stop")
        elif self.counts.total() >= self._room:
            self._end("length")

    def label(self, id: int, logits: Tensor) -> None:
        """A classifier's whole answer, chosen under logits (C,)."""
        labels = self.version.model.labels
        logprob, top = self._logprobs(id, logits)
        self.counts[id] += 1
        named = tuple((labels[other], value) for other, value in top.items())
        self._publish([Token(id, labels[id], logprob, named)])
        self._end("stop")

    def fail(self, error: BaseException) -> None:
        """There will be no complete answer."""
        self.ended = True
        self.generation.fail(error)
        self._tell(type(error).__name__)

    def _end(self, reason: Reason) -> None:
        self.ended = True
        if not self._text.stopped:
            self._publish(self._text.close())
        text = "".join(token.text for token in self._tokens)
        self._tell(reason)
        self.generation.finish(
            Finished(
                text=text,
                tokens=tuple(self._tokens),
                finish_reason=reason,
                prompt_tokens=len(self.generation.ids),
                completion_tokens=self.counts.total(),
                version=self.version.head,
                fired=tuple(self._fired),
                weight_edits=self.version.weight_edits,
            )
        )

    def _token(self, id: int, logits: Tensor) -> Token:
        logprob, top = self._logprobs(id, logits)
        tokenizer = self.version.model.tokenizer
        return Token(id, "", logprob, tuple((_alone(tokenizer, other), value) for other, value in top.items()))

    def _logprobs(self, id: int, logits: Tensor) -> tuple[float | None, dict[int, float]]:
        wanted = self.sampling.logprobs
        return (None, {}) if wanted is None else logprobs(logits, id, wanted)

    def _publish(self, tokens: list[Token]) -> None:
        self._tokens += tokens
        if tokens:
            self.generation.publish(tokens)

    def _tell(self, outcome: str) -> None:
        if self._hooks:
            seconds = time.monotonic() - self.generation.submitted
            prompt = len(self.generation.ids)
            self._hooks.ended(outcome, prompt, self.counts.total(), len(self._fired), seconds)


def room(model: EditableModel, prompt: int) -> float:
    """How many tokens may follow a prompt of so many: the last one chosen is never read."""
    if model.context is None:
        return float("inf")
    return model.context - prompt + 1 if model.task == "causal" else model.context


def _alone(tokenizer: PreTrainedTokenizerBase, id: int) -> str:
    return str(tokenizer.decode([id]))
