"""Keys and states at the subject's last token: what the locate-then-edit methods read off a model.

Knows edits with subjects, contexts and modules. It does not know how targets are found or updates solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import BadEdit
from errata.models import Batch, EditableModel
from errata.models.hooks import capture
from errata.models.positions import offsets
from errata.prompts import prefixed
from errata.solve.templates import Contexts


@dataclass(frozen=True)
class Facts:
    """n edits, each to be read after each of C contexts; row e * C + c is edit e after context c.

    Attributes:
        edits: every one has a subject that its prompt contains (`require_subjects`).
        contexts: the bare prompt is the first.
        rows: texts in one forward.
    """

    edits: Sequence[Edit]
    contexts: Contexts
    rows: int = 256

    def __len__(self) -> int:
        return len(self.edits)

    @cached_property
    def prompts(self) -> list[str]:
        """n * C texts."""
        return [prefixed(prefix, edit.prompt) for edit in self.edits for prefix in self.contexts.prefixes]

    @cached_property
    def ends(self) -> list[int]:
        """Of every text, where the subject's last character stands."""
        return [len(prefix) + _end(edit) for edit in self.edits for prefix in self.contexts.prefixes]

    @property
    def bare(self) -> Facts:
        """The same edits without contexts."""
        return Facts(self.edits, Contexts(("",), (1.0,)), self.rows)

    def only(self, chosen: Sequence[int]) -> Facts:
        """The edits at these places."""
        return Facts([self.edits[place] for place in chosen], self.contexts, self.rows)


def require_subjects(edits: Sequence[Edit]) -> None:
    """Raise BadEdit, naming the edit, if one has no subject or one that its prompt does not contain."""
    for edit in edits:
        if not (edit.subject or "").strip():
            raise BadEdit(
                f"edit '{edit.id}' ({edit.prompt!r}) names no subject, which this method needs; "
                "give `subject` as the prompt writes it, or use a method that needs none, such as grace"
            )
        if str(edit.subject) not in edit.prompt:
            raise BadEdit(
                f"edit '{edit.id}': the subject '{edit.subject}' is not in the prompt '{edit.prompt}'; "
                "write it as the prompt does"
            )


def _end(edit: Edit) -> int:
    """The first occurrence counts, as in ROME, whose templates have one place for the subject."""
    subject = str(edit.subject)
    return edit.prompt.index(subject) + len(subject.rstrip()) - 1


def columns(model: EditableModel, texts: Sequence[str], ends: Sequence[int]) -> list[int]:
    """Column, in each text's unpadded ids, of the token that holds the character at `ends`; a BOS token counts.

    Every text is tokenised once, as a whole: pieces tokenised by themselves have other boundaries.

    Raises:
        BadModel: the tokenizer reports no character offsets.
        BadEdit: no token covers the character.
    """
    found = []
    for text, end in zip(texts, ends, strict=True):
        covering = [column for column, (start, stop) in enumerate(offsets(model, text)) if start <= end < stop]
        if not covering:
            raise BadEdit(f"no token of '{text}' covers the subject's last character '{text[end]}'; rewrite the prompt")
        # Bytes of one character may be several tokens: the last one has read it all.
        found.append(covering[-1])
    return found


def at_columns(hidden: Tensor, batch: Batch, unpadded: Sequence[int]) -> Tensor:
    """(B, d): the state of every row at its column, padding on either side."""
    places = torch.tensor(unpadded, device=hidden.device) + batch.pads.to(hidden.device)
    return hidden[torch.arange(len(batch), device=hidden.device), places]


@torch.no_grad()
def read(
    model: EditableModel, facts: Facts, layer: int, path: str, what: Literal["input", "output"] = "output"
) -> Tensor:
    """(n, C, d) float64: what goes in or out of the module at `path`, in block `layer`, at the subject's last token.

    Runs the blocks up to `layer` alone, with whatever is in force on the model.
    """
    where = columns(model, facts.prompts, facts.ends)
    parts = []
    for start in range(0, len(facts.prompts), facts.rows):
        batch = model.encode(facts.prompts[start : start + facts.rows])
        with capture(model.model, [path], what=what) as seen:
            model.prefix(batch, layer)
        hidden = seen[path][-1].reshape(*batch.input_ids.shape, -1)  # some models flatten rows before their MLP
        parts.append(at_columns(hidden, batch, where[start : start + facts.rows]).double())
    return torch.cat(parts).unflatten(0, (len(facts), len(facts.contexts)))


def read_keys(model: EditableModel, facts: Facts, layer: int) -> Tensor:
    """K (d_in, n) float64: inputs of the MLP's down-projection, averaged over contexts by their weights."""
    inputs = read(model, facts, layer, model.arch.matrix(layer, "mlp_down"), "input")
    return torch.einsum("ncd,c->dn", inputs, facts.contexts.weight().to(inputs.device))


def read_states(model: EditableModel, facts: Facts, layer: int, site: Literal["block", "mlp"] = "block") -> Tensor:
    """(d, n) float64: outputs of the block, or of its MLP, at the subject's last token of the bare prompts."""
    path = model.arch.blocks[layer] if site == "block" else model.arch.matrix(layer, "mlp_down")
    return read(model, facts.bare, layer, path)[:, 0].t()
