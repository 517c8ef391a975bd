"""Causal tracing: which states carry a fact (Meng et al., 2022, arXiv:2202.05262, section 2).

The subject's token embeddings are corrupted with noise until the answer is lost; then one thing of the clean run is
put back, a block's output or what the MLPs or the attention of a few blocks write, at one token. How much of the
answer's probability returns is the indirect effect of that thing at that place. Knows facts, blocks and positions;
averaging over facts is no concern here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from errata.errors import BadConfig
from errata.locate.facts import Fact
from errata.locate.traces import CLASSES, KINDS, Settings, Trace, token_classes
from errata.models import EditableModel
from errata.models.hooks import capture, replace_output
from errata.models.positions import subject_span

_SCALED = 1000
_ROLES = {"mlp": "mlp_down", "attention": "attn_out"}

# Given rows (of the corrupted batch, repeated at will) and, for each, states to go on from: answer probabilities.
Resume = Callable[[Tensor, Tensor | None], Tensor]


def check_task(model: EditableModel) -> None:
    """Raise BadConfig for a classifier: it has labels, not facts about a subject."""
    if model.task == "classification":
        raise BadConfig(
            f"{model.name} is a classifier, and causal tracing follows a fact through a model that writes; "
            "use --by salience"
        )


def traced_blocks(model: EditableModel) -> range:
    """The blocks that are traced: all of a causal model, the encoder's of an encoder-decoder (it reads the subject)."""
    return model.arch.stack(0)


def noise_scale(model: EditableModel, facts: Sequence[Fact]) -> float:
    """Standard deviation of the coordinates of the embeddings of the first 1,000 facts' subject tokens."""
    with torch.no_grad(), model.evaluating():
        embedded = [_embeddings(model, fact) for fact in facts[:_SCALED]]
    return float(torch.cat(embedded).float().std())


def subject_noise(fact: Fact, settings: Settings, tokens: int, width: int) -> Tensor:
    """(samples, tokens, d), standard normal; from the seed and the fact alone, whatever else is traced."""
    digest = hashlib.sha256(f"{settings.seed} {fact.key}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(settings.samples, tokens, width, generator=generator)


def trace(
    model: EditableModel,
    fact: Fact,
    sigma: float,
    settings: Settings,
    *,
    kinds: Sequence[str] = KINDS,
    classes: Sequence[str] = CLASSES,
) -> Trace:
    """Trace one fact that the model knows. `sigma` is the standard deviation of the noise.

    `kinds` and `classes` say what is restored, and at which tokens; less of either takes less time.

    Raises:
        BadConfig: the model is a classifier.
        BadEdit: no token ends the subject.
    """
    check_task(model)
    with torch.no_grad(), model.evaluating():
        return _Tracing(model, fact, sigma, settings, kinds, classes).run()


class _Tracing:
    """One fact in one model. The batch holds `samples` copies of the prompt, one for each corruption."""

    def __init__(
        self,
        model: EditableModel,
        fact: Fact,
        sigma: float,
        settings: Settings,
        kinds: Sequence[str],
        classes: Sequence[str],
    ) -> None:
        self.model, self.fact, self.settings, self.kinds = model, fact, settings, kinds
        self.batch = model.encode([fact.prompt] * settings.samples)
        self.span = subject_span(model, fact.prompt, fact.subject)
        length = self.batch.input_ids.shape[1]
        # What comes before the noise in a causal model is clean already.
        first = self.span.start if model.arch.causal(0) else 0
        self.classes = token_classes(self.span, length)
        self.columns = [column for column in range(first, length) if self.classes[column] in classes]
        self.blocks = traced_blocks(model)
        self.window = settings.resolved_window(len(self.blocks))
        self.answer = model.encode([fact.prompt], [fact.answer], end=False).target_ids[0][0]
        self._written = {kind: role for kind, role in _ROLES.items() if kind in kinds}
        width = _embedding(model).get_parameter("weight").shape[1]
        self.noise = sigma * subject_noise(fact, settings, len(self.span), width)

    def run(self) -> Trace:
        clean, sites = self._clean()
        restored = {kind: torch.zeros(len(self.columns), len(self.blocks), dtype=torch.float64) for kind in self.kinds}
        corrupted = 0.0
        for base in range(-1, len(self.blocks)):
            with self._above(base) as (hidden, resume):
                if base < 0:
                    every = torch.arange(self.settings.samples, device=self.model.device)
                    corrupted = float(resume(every, None).double().mean())
                elif hidden is not None and "state" in self.kinds:
                    site = sites[self.model.arch.blocks[base]]
                    restored["state"][:, base] = self._states(hidden, site, resume)
                for block in self._starting_at(base + 1):
                    for kind in self._written:
                        restored[kind][:, block] = self._writes(kind, block, sites, hidden, resume)
        ids = self.batch.input_ids[0].tolist()
        tokens = [str(self.model.tokenizer.decode([ids[column]])) for column in self.columns]
        classes = [self.classes[column] for column in self.columns]
        return Trace(self.fact, tuple(tokens), tuple(classes), clean, corrupted, restored)

    def _clean(self) -> tuple[float, dict[str, Tensor]]:
        """The answer's probability without noise, and (T, d) at every site by module path."""
        one = self.batch.rows(torch.tensor([0]))
        paths = [self.model.arch.blocks[block] for block in self.blocks]
        paths += [self.model.arch.matrix(block, role) for block in self.blocks for role in self._written.values()]
        with capture(self.model.model, paths) as record:
            logits = self.model.forward(one, keep=1)
        sites = {path: calls[0].reshape(-1, calls[0].shape[-1]) for path, calls in record.items()}
        return float(self._probability(logits)), sites

    def _window(self, block: int) -> range:
        """The blocks restored together for `block`: around it, cut off at the ends of the stack."""
        start = block - self.window // 2
        return range(max(start, 0), min(start + self.window, len(self.blocks)))

    def _starting_at(self, first: int) -> list[int]:
        return [block for block in self.blocks if self._window(block).start == first]

    def _states(self, hidden: Tensor, site: Tensor, resume: Resume) -> Tensor:
        """(P,): scores with the clean state put back at each traced token."""

        def restored(rows: Tensor, columns: Tensor) -> Tensor:
            states = hidden[rows]
            states[torch.arange(len(rows)), columns] = site[columns]
            return resume(rows, states)

        return self._over_tokens(restored)

    def _writes(
        self, kind: str, block: int, sites: Mapping[str, Tensor], hidden: Tensor | None, resume: Resume
    ) -> Tensor:
        """(P,): scores with what the blocks around `block` write put back at each traced token."""
        paths = [self.model.arch.matrix(one, self._written[kind]) for one in self._window(block)]

        def restored(rows: Tensor, columns: Tensor) -> Tensor:
            with ExitStack() as stack:
                for path in paths:
                    change = _putting(sites[path], columns)
                    stack.callback(replace_output(self.model.model.get_submodule(path), change).remove)
                return resume(rows, None if hidden is None else hidden[rows])

        return self._over_tokens(restored)

    def _over_tokens(self, restored: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """(P,): mean over samples of what `restored` gives for each pair of sample and traced token."""
        if not self.columns:
            return torch.zeros(0, dtype=torch.float64)
        samples, device = self.settings.samples, self.model.device
        rows = torch.arange(samples, device=device).repeat(len(self.columns))
        columns = torch.tensor(self.columns, device=device).repeat_interleave(samples)
        parts = zip(rows.split(self.settings.rows), columns.split(self.settings.rows), strict=True)
        scores = torch.cat([restored(*part) for part in parts])
        return scores.view(-1, samples).double().mean(1).cpu()

    @contextmanager
    def _above(self, base: int) -> Iterator[tuple[Tensor | None, Resume]]:
        """The corrupted runs up to block `base`, and how to go on from there; -1 stands for the embeddings."""
        if base < 0:
            yield None, self._whole
            return
        with self._corrupted(self.noise):
            prefix = self.model.prefix(self.batch, base)
        with prefix.suffix() as run:
            yield prefix.hidden, lambda rows, states: self._probability(run(states, rows, keep=1))

    def _whole(self, rows: Tensor, _states: Tensor | None) -> Tensor:
        inputs = {name: tensor[rows] for name, tensor in self.model.inputs(self.batch).items()}
        with self._corrupted(self.noise[rows.cpu()]):
            return self._probability(self.model.logits(inputs, keep=1))

    @contextmanager
    def _corrupted(self, noise: Tensor) -> Iterator[None]:
        """The embeddings of the prompt's subject carry `noise`, (R, tokens, d); a decoder's own input does not."""
        prompt = self.batch.input_ids[0]

        def change(module: Any, args: Any, embedded: Tensor) -> Tensor:
            if args[0].shape[-1:] != prompt.shape or not bool((args[0] == prompt).all()):
                return embedded
            embedded = embedded.clone()
            embedded[:, self.span.start : self.span.stop] += noise.to(embedded)
            return embedded

        handle = _embedding(self.model).register_forward_hook(change)
        try:
            yield
        finally:
            handle.remove()

    def _probability(self, logits: Tensor) -> Tensor:
        """(R,): probability of the answer's first token after the prompt."""
        return logits[:, -1].float().softmax(-1)[:, self.answer]


def _putting(site: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
    """A change of an output that puts the clean value of each row's column in its place."""

    def change(output: Tensor) -> Tensor:
        # Some blocks flatten rows and tokens before their matrices.
        written = output.reshape(len(columns), -1, output.shape[-1]).clone()
        written[torch.arange(len(columns)), columns] = site[columns]
        return written.view_as(output)

    return change


def _embedding(model: EditableModel) -> nn.Module:
    reader = model.model.get_encoder() if model.task == "seq2seq" else model.model
    return reader.get_input_embeddings()


def _embeddings(model: EditableModel, fact: Fact) -> Tensor:
    """(tokens, d): the embeddings of the fact's subject tokens."""
    span = subject_span(model, fact.prompt, fact.subject)
    return _embedding(model)(model.encode([fact.prompt]).input_ids[0, span.start : span.stop])
