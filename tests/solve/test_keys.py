"""Keys are the down-projection's inputs at the subject's last token, whatever the padding, averaged over contexts."""

from __future__ import annotations

import pytest
import torch

from errata import Edit
from errata.errors import BadEdit
from errata.models import EditableModel
from errata.models.hooks import capture
from errata.solve.keys import Facts, columns, read_keys, read_states, require_subjects
from errata.solve.templates import Contexts
from tiny import tiny_model

EDITS = [
    Edit("The capital of France is", "Lyon", subject="France", id="a"),
    Edit("Who wrote the book about Madrid and Vienna?", "Rome", subject="Madrid and Vienna", id="b"),
]
CONTEXTS = Contexts(("", "Cities are. ", "London is London. "), (0.5, 0.3, 0.2))


def alone(model: EditableModel, text: str, subject: str, start: int, path: str, what: str) -> torch.Tensor:
    """What passes the module at the subject's last token, from a plain forward of this text alone."""
    ids = model.tokenizer(text)["input_ids"]
    end = text.index(subject, start) + len(subject)
    last = max(at for at in range(len(ids)) if len(model.tokenizer.decode(ids[:at], skip_special_tokens=True)) < end)
    with torch.no_grad(), capture(model.model, [path], what=what) as seen:  # type: ignore[arg-type]
        model.model(torch.tensor([ids]))
    return seen[path][0].reshape(len(ids), -1)[last].double()


@pytest.mark.parametrize("arch", ["gpt2", "gptj", "gpt_neox", "llama", "opt"])
@pytest.mark.parametrize("bos", [False, True])
def test_keys_are_weighted_means_over_contexts(arch: str, bos: bool) -> None:
    model, layer = tiny_model(arch, bos=bos), 1
    keys = read_keys(model, Facts(EDITS, CONTEXTS, rows=4), layer)  # of six rows, in two batches
    path = model.arch.matrix(layer, "mlp_down")
    for place, edit in enumerate(EDITS):
        wanted = sum(
            weight * alone(model, prefix + edit.prompt, str(edit.subject), len(prefix), path, "input")
            for prefix, weight in zip(CONTEXTS.prefixes, CONTEXTS.weights, strict=True)
        )
        torch.testing.assert_close(keys[:, place], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("site", ["block", "mlp"])
def test_states_are_those_of_the_bare_prompt(site: str) -> None:
    model = tiny_model("gpt2")
    path = model.arch.blocks[2] if site == "block" else model.arch.matrix(2, "mlp_down")
    states = read_states(model, Facts(EDITS, CONTEXTS), 2, site)  # type: ignore[arg-type]
    for place, edit in enumerate(EDITS):
        wanted = alone(model, edit.prompt, str(edit.subject), 0, path, "output")
        torch.testing.assert_close(states[:, place], wanted, atol=1e-5, rtol=1e-4)


def test_the_first_occurrence_counts_and_never_one_in_the_context():
    model = tiny_model("gpt2")
    edit = Edit("London is not London", "Rome", subject="London", id="a")
    facts = Facts([edit], CONTEXTS)
    assert facts.ends == [5, len("Cities are. ") + 5, len("London is London. ") + 5]
    text = facts.prompts[2]
    (column,) = columns(model, [text], facts.ends[2:])
    ids = model.tokenizer(text)["input_ids"]
    assert model.tokenizer.decode(ids[: column + 1]) == "London is London. London"


def test_a_start_token_shifts_by_one():
    text, end = "The capital of France is", len("The capital of France") - 1
    (plain,), (shifted,) = (columns(tiny_model("llama", bos=bos), [text], [end]) for bos in (False, True))
    assert shifted == plain + 1


def test_an_edit_without_a_subject_is_named():
    edits = [EDITS[0], Edit("Who wrote the book?", "Rome", id="e7")]
    with pytest.raises(BadEdit, match=r"edit 'e7' .*names no subject.*give `subject`"):
        require_subjects(edits)
