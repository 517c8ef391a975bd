"""The two networks of a router: one tells whether a prompt is in the scope of an edit, one answers with the edit before
it (SERAC, arXiv:2206.06520).

Knows their formulas, which training and inference share, and their tensors. How a running model is tapped is in
`routing`, how the tensors were found is no concern here.
"""

from __future__ import annotations

import hashlib
import json
import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from errata.errors import BadModel, BadPatch, WrongModel
from errata.models.shallow import fill, own, shallow

if TYPE_CHECKING:
    from errata.models import EditableModel

SCOPE, COUNTERFACTUAL = "scope.", "counterfactual."
_HEAD, _SCALE = "head", "scale"
_START = 3.0  # of the log of the scale: a similarity of 1/2 at a distance of .19 between unit vectors

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Sizes:
    """Blocks in each stack of the two networks, and the length of an embedding."""

    scope_blocks: int
    blocks: int
    width: int


class Scope(nn.Module):
    """How near two texts are: exp(-scale |a - b|^2), where a and b are unit vectors, means over a text's tokens.

    Its encoder is that of the model, or a classifier's body, as far as its first blocks.
    """

    def __init__(self, model: EditableModel, blocks: int, width: int) -> None:
        super().__init__()
        network = shallow(model, blocks)
        encoder = network.get_encoder() if model.task == "seq2seq" else network.base_model
        self.encoder = cast(nn.Module, encoder)
        self.below = next(path for path, module in network.named_modules() if module is encoder) + "."
        self.head = nn.Parameter(torch.empty(width, model.width, device=model.device))
        self.scale = nn.Parameter(torch.tensor(_START, device=model.device))
        nn.init.orthogonal_(self.head, generator=torch.Generator(model.device).manual_seed(0))
        self._network = (network,)  # in a tuple it is no submodule: the rest of it takes no part

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(N, e) unit vectors of texts (N, T)."""
        states = self.encoder(input_ids=ids, attention_mask=mask)[0]
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(mean @ self.head.t(), dim=-1)

    def log_similarity(self, one: Tensor, other: Tensor) -> Tensor:
        """(N, M), at most 0, for unit vectors (N, e) and (M, e)."""
        squares = (2 - 2 * one @ other.t()).clamp(min=0)
        return -self.scale.exp() * squares

    def distance(self, log_similarity: float) -> float:
        """How far two unit vectors of this similarity are from one another."""
        return math.sqrt(-log_similarity / float(self.scale.detach().exp()))

    def own(self) -> dict[str, Tensor]:
        """What it does not share with the model."""
        return {_HEAD: self.head.detach(), _SCALE: self.scale.detach(), **own(self._network[0], self.below)}

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `own`. Raises BadModel: they are of another size."""
        parts = dict(tensors)
        with torch.no_grad():
            for name in (_HEAD, _SCALE):
                parameter = getattr(self, name)
                if parts[name].shape != parameter.shape:
                    raise BadModel(f"the {name} of a scope classifier is {tuple(parts[name].shape)} large")
                parameter.copy_(parts.pop(name))
        fill(self._network[0], parts, self.below)


@dataclass(frozen=True, eq=False)
class Placed:
    """The two networks beside a model, ready to run, with what is needed to feed them."""

    scope: Scope
    counterfactual: PreTrainedModel
    pad: int
    lead: int
    room: int | None

    @classmethod
    def fresh(cls, model: EditableModel, sizes: Sizes) -> Placed:
        """Both as the model's own blocks make them. Raises BadModel."""
        networks = Scope(model, sizes.scope_blocks, sizes.width).eval(), shallow(model, sizes.blocks)
        return cls(*networks, model.pad_id, _leading(model), model.context)

    def embed(self, rows: Rows) -> Tensor:
        """(N, e) float32: embeddings of texts, each as ids."""
        return self.scope.embed(*self.padded(rows))

    def edited(self, context: Sequence[int], row: Sequence[int]) -> list[int]:
        """What the counterfactual model reads for a row of ids: the edit, then the row, after what leads it."""
        return [*row[: self.lead], *context, *row[self.lead :]]

    def fits(self, context: Sequence[int], row: Sequence[int]) -> bool:
        """Whether the counterfactual model can read both."""
        return self.room is None or len(context) + len(row) <= self.room

    def padded(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Ids and mask (N, T), on the networks' device."""
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return ids.to(self.scope.head.device), mask.to(self.scope.head.device)

    def context(self, model: EditableModel, edit: str) -> list[int]:
        """The text of an edit, prompt and target, as the ids that stand before a row for the counterfactual model."""
        return text_ids(model, edit)[self.lead :]

    def tensors(self) -> dict[str, Tensor]:
        """What the networks do not share with the model, by name."""
        parts = {SCOPE: self.scope.own(), COUNTERFACTUAL: own(self.counterfactual)}
        return {prefix + name: tensor for prefix, named in parts.items() for name, tensor in named.items()}

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `tensors`. Raises BadModel: they are of another size."""
        parts: dict[str, dict[str, Tensor]] = {SCOPE: {}, COUNTERFACTUAL: {}}
        for name, tensor in tensors.items():
            prefix = SCOPE if name.startswith(SCOPE) else COUNTERFACTUAL
            parts[prefix][name.removeprefix(prefix)] = tensor
        self.scope.fill(parts[SCOPE])
        fill(self.counterfactual, parts[COUNTERFACTUAL])


class Networks:
    """The tensors of both networks, in half precision; or, where a file leaves them to another one, which they are.

    Attributes:
        sizes: of the networks.
        tensors: see `Placed.tensors`; on the CPU, and empty where they are elsewhere.
        digest: SHA-256 (hex) of sizes and tensors.
    """

    def __init__(self, sizes: Sizes, tensors: Mapping[str, Tensor], digest: str | None = None) -> None:
        """Raises BadPatch: the tensors do not have this digest."""
        self.sizes = sizes
        self.tensors = {name: _halved(tensor).cpu().contiguous() for name, tensor in tensors.items()}
        if self.tensors and digest not in (None, self._found):
            raise BadPatch("the networks of a router are not those that its edits were made with")
        self.digest = digest or self._found
        self._placed: weakref.WeakKeyDictionary[nn.Module, Placed] = weakref.WeakKeyDictionary()

    def on(self, model: EditableModel) -> Placed:
        """The networks beside this model, made once.

        Raises:
            WrongModel: they were trained for a model of another shape.
            BadPatch: the tensors are elsewhere.
        """
        if not self.tensors:
            raise BadPatch("this file holds edits alone, its networks an earlier one of its sheet; open the sheet")
        if model.model not in self._placed:
            placed = Placed.fresh(model, self.sizes)
            try:
                placed.fill(self.tensors)
            except (BadModel, KeyError) as error:
                raise WrongModel(f"the router was trained for another model: {error}") from error
            placed.scope.requires_grad_(False)
            placed.counterfactual.requires_grad_(False)
            self._placed[model.model] = placed
        return self._placed[model.model]

    def elsewhere(self) -> Networks:
        """Only which they are."""
        return Networks(self.sizes, {}, self.digest)

    def header(self) -> dict[str, Any]:
        return {**asdict(self.sizes), "digest": self.digest}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Networks:
        """Inverse of `header` and `tensors`. Raises BadPatch."""
        sizes = {name: value for name, value in header.items() if name != "digest"}
        return cls(Sizes(**sizes), tensors, header["digest"])

    @cached_property
    def _found(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self.sizes), sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def text_ids(model: EditableModel, text: str) -> list[int]:
    """A text as the model would read it as a prompt, special tokens included."""
    return cast(list[int], model.tokenizer(text, verbose=False)["input_ids"])


def _leading(model: EditableModel) -> int:
    """How many tokens the tokenizer writes before a text."""
    special = model.tokenizer("a", return_special_tokens_mask=True, verbose=False)["special_tokens_mask"]
    return cast(list[int], special).index(0)


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
