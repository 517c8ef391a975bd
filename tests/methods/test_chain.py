"""A codebook along the whole target: keys, shared values, borrowed wordings, contradictions; on lab:gpt."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from errata import Edit, Editor
from errata.methods._base import create
from errata.models import EditableModel
from errata.patches.codebook import CodebookPatch
from errata.statistics.phrasings import phrasings_for
from errata.statistics.wordings import borrowed

FRANCE = Edit("The capital of France is", "New Zealand", subject="France", id="france")
PERU = Edit("The capital of Peru is", "Ottawa", subject="Peru", id="peru")


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


@pytest.fixture
def editor(lab: EditableModel) -> Iterator[Editor]:
    with Editor(lab) as opened:
        yield opened


def book(lab: EditableModel, *edits: Edit, **options: object) -> CodebookPatch:
    patch = create("chain", {"radius": 1.0, **options}).fit(lab, edits).patch
    assert isinstance(patch, CodebookPatch)
    return patch


def test_a_key_for_the_query_and_for_every_token_of_the_target(lab: EditableModel) -> None:
    patch = book(lab, FRANCE, wordings=0)
    batch = lab.encode([FRANCE.prompt], [FRANCE.target])
    label = tuple(batch.target_ids[0])
    assert [entry.label for entry in patch.entries] == [label[start:] for start in range(len(label))]
    first = int(batch.query)
    assert [entry.position for entry in patch.entries] == list(range(first, first + len(label)))
    assert label[-1] == lab.tokenizer.eos_token_id


def test_other_wordings_get_the_same_values(lab: EditableModel) -> None:
    patch = book(lab, FRANCE)
    prompts = list(dict.fromkeys(entry.prompt for entry in patch.entries))
    assert prompts[0] == FRANCE.prompt
    assert 1 < len(prompts) <= 5
    assert set(prompts[1:]) <= set(borrowed(phrasings_for(), FRANCE.prompt, "France", 4))
    values = [[entry.value for entry in patch.entries if entry.prompt == prompt] for prompt in prompts]
    assert all(a.equal(b) for other in values[1:] for a, b in zip(values[0], other, strict=True))


def test_a_wording_that_the_model_answers_otherwise_gets_no_key(lab: EditableModel) -> None:
    unknown = dataclasses.replace(FRANCE, prompt="The capital of Xyzzyq Blorp is", subject="Xyzzyq Blorp")
    said = {prompt: lab.generate([prompt])[0] for prompt in (
        unknown.prompt, *borrowed(phrasings_for(), unknown.prompt, unknown.subject, 4)
    )}  # fmt: skip
    prompts = {entry.prompt for entry in book(lab, unknown).entries}
    for prompt in set(said) - {unknown.prompt}:
        same = said[prompt].split()[:1] == said[unknown.prompt].split()[:1]
        assert same or prompt not in prompts


def test_answers_end_where_the_target_ends(editor: Editor) -> None:
    editor.edit([FRANCE, PERU], method="chain", radius=1.0)
    asked = [FRANCE.prompt, PERU.prompt, "The capital of Spain is"]
    assert editor.generate(asked, max_new_tokens=12)[:2] == ["New Zealand", "Ottawa"]
    assert editor.generate(asked[2], max_new_tokens=12) == "Madrid"


def test_of_two_edits_of_one_call_that_contradict_the_later_counts(lab: EditableModel) -> None:
    other = dataclasses.replace(FRANCE, target="Lima", id="other")
    fit = create("chain", {"radius": 1.0}).fit(lab, [FRANCE, other, PERU])
    assert fit.patch is not None
    assert sorted(fit.patch.edits) == ["other", "peru"]
    assert [id for id, figures in fit.figures.items() if "problem" in figures] == ["france"]


def test_an_undone_edit_gives_way_to_the_one_before(editor: Editor) -> None:
    editor.edit(FRANCE, method="chain", radius=1.0)
    editor.edit(dataclasses.replace(FRANCE, target="Lima", id="later"), method="chain", radius=1.0)
    assert editor.generate(FRANCE.prompt) == "Lima"
    editor.undo("later")
    assert editor.generate(FRANCE.prompt) == "New Zealand"


def test_without_calibration_it_says_so_and_stays_near(lab: EditableModel, tmp_path, caplog) -> None:
    facts = tmp_path / "facts.jsonl"
    facts.write_text('{"prompt": "Chad has the capital", "target": "Quito", "rephrases": ["The capital of Chad is"]}')
    patch = create("chain", {"facts": str(facts), "layer": 5}).fit(lab, [FRANCE]).patch
    assert "59 fewer" in caplog.text
    assert isinstance(patch, CodebookPatch)
    norm = float(patch.entries[0].query.norm())
    assert patch.entries[0].radius < 0.2 * norm


def test_rephrases_of_an_edit_get_keys_if_that_is_wanted(lab: EditableModel) -> None:
    edit = dataclasses.replace(FRANCE, rephrases=("Paris is to the French what to us is",))
    prompts = {entry.prompt for entry in book(lab, edit, wordings=0, rephrases=True).entries}
    assert prompts == {edit.prompt, *edit.rephrases}
    assert {entry.prompt for entry in book(lab, edit, wordings=0).entries} == {edit.prompt}
