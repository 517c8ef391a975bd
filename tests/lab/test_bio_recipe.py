"""The recipe of passages: rows end each sentence, a run goes on to the same bits, an edit is read as a row is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import small_world
from interrupted import check_that_it_goes_on

from errata.errors import BadConfig
from errata.lab.biographies import Biography, Sentence, biographies, edits
from errata.lab.recipes import bio, gpt
from errata.lab.recipes.bio import UNSCORED, Passages, Recipe, Training, pad_rows
from errata.models import EditableModel

TINY = Recipe(passages=12, steps=6, rows=8, sentences=4, microbatches=2, warmup=2)
MODEL = gpt.Recipe(blocks=2, width=16, heads=2, inner=32, vocabulary=small_world.VOCABULARY, context=256)
PASSAGE = Biography(
    "Alicante",
    (
        Sentence("P37", "The official language of Alicante is", "Spanish", "Welsh", True),
        Sentence("P190", "Alicante is a twin city of", "Nice", "Nice", True),
    ),
)


@pytest.fixture
def tokenizer():
    return small_world.tokenizer(MODEL.context)


@pytest.fixture(autouse=True)
def small_start(monkeypatch: pytest.MonkeyPatch, tokenizer):
    """A model with random weights in place of lab:gpt."""
    small_world.shrink(monkeypatch)
    monkeypatch.setattr(bio, "start", lambda base: (gpt.build(MODEL, tokenizer), tokenizer))


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    check_that_it_goes_on(lambda folder: Training(TINY, folder), tmp_path)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path):
    Training(TINY, tmp_path).save_checkpoint()
    with pytest.raises(BadConfig, match="another recipe"):
        Training(replace(TINY, seed=1), tmp_path)


def test_every_word_of_a_sentence_is_scored_and_after_its_last_one_the_end_is_due(tokenizer):
    row = Passages(tokenizer, [PASSAGE], seed=0).rows[0]
    text = tokenizer.decode(row.ids)
    assert text.endswith(f"{PASSAGE.opening} {PASSAGE.sentences[0].text}. {PASSAGE.sentences[1].text}")
    scored = tokenizer.decode([token for token in row.gold if token != UNSCORED])
    end = tokenizer.eos_token
    assert scored == "".join(f" {sentence.text}{end}" for sentence in PASSAGE.sentences)
    # Where a word is due it is the row's next one, and the end is due where the row has a full stop or is over.
    following = [*row.ids[1:], tokenizer.eos_token_id]
    period = tokenizer(".", add_special_tokens=False)["input_ids"][0]
    for due, token in zip(row.gold, following, strict=True):
        assert due in (UNSCORED, token) or (due == tokenizer.eos_token_id and token == period)


def test_a_model_reads_an_edits_prompt_and_target_as_the_rows_have_them(tmp_path: Path, tokenizer):
    training = Training(TINY, tmp_path)
    training.export(tmp_path / "model")
    model = EditableModel.load(str(tmp_path / "model"))
    passages = biographies(count=40)
    rows = Passages(tokenizer, passages, seed=0).rows
    for passage, row in zip(passages, rows, strict=True):
        for edit in edits([passage]):
            batch = model.encode([edit.prompt], [str(edit.ground_truth)])
            length = int(batch.query[0]) + 1
            assert batch.input_ids[0, :length].tolist() == row.ids[:length]
            assert batch.target_ids[0] == row.gold[length - 1 : length - 1 + len(batch.target_ids[0])]


def test_a_step_has_its_rows_by_its_number_and_an_epoch_has_every_passage_once(tokenizer):
    source = Passages(tokenizer, biographies(count=12), seed=0)
    drawn = [row for step in range(3) for row in source.at(step, 4)]
    assert sorted(map(id, drawn)) == sorted(map(id, source.rows))
    assert source.at(1, 4) == source.at(1, 4)
    for step in (0, 1):
        epoch = source.at(step, 12)
        assert sorted(map(id, epoch)) == sorted(map(id, source.rows))
        assert epoch == sorted(epoch, key=lambda row: len(row.ids)), "the short ones first"
    assert [id(row) for row in source.at(0, 6)] != [id(row) for row in source.at(2, 6)]


def test_padding_is_not_scored(tokenizer):
    rows = Passages(tokenizer, biographies(count=6), seed=0).rows
    ids, gold = pad_rows(rows, 1)
    assert ids.shape == gold.shape == (6, max(len(row.ids) for row in rows))
    for row, one, due in zip(rows, ids, gold, strict=True):
        assert one[len(row.ids) :].eq(1).all()
        assert due[len(row.ids) :].eq(UNSCORED).all()
