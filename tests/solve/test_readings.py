"""What is measured on readings is what a forward with the vectors in place gives, and sums by hand come out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import BadModel
from errata.models import Batch, EditableModel
from errata.models.backpack.words import backpack_of
from errata.patches.senses import Additions, adding
from errata.solve.additions import GeneralText, ReadAims, SenseTether, Wanted
from errata.solve.general import Prose, Tether
from errata.solve.goals import Aims
from errata.solve.readings import Reading, following, read
from errata.statistics.collecting import packed
from tiny import tiny_model

EDITS = (
    Edit("The capital of France is", "Rome", id="a"),
    Edit("Who wrote the book?", "Paris and Rome", id="b", goal="raise"),
    Edit("Madrid and Vienna are", "London", id="c", goal="lower"),
    Edit("Madrid is", "London", id="d", goal="balance", rival="Vienna too"),
    Edit("Madrid was", "London", id="e", goal="contrast", rival="Vienna and"),
)


def toy() -> Reading:
    """Tokens 7 3 7 9 after one of padding, two senses, the last two columns predict."""
    ids, mask = torch.tensor([[0, 7, 3, 7, 9]]), torch.tensor([[0, 1, 1, 1, 1]])
    batch = Batch(ids, mask, torch.tensor([2]), [[]])
    first = [[0.0, 0.5, 0.3, 0.2, 0.0], [0.0, 0.1, 0.1, 0.8, 0.0]]
    second = [[0.0, 0.2, 0.2, 0.2, 0.4], [0.0, 0.0, 0.5, 0.25, 0.25]]
    rows, columns = torch.tensor([0, 0]), torch.tensor([3, 4])
    return Reading(batch, rows, columns, torch.tensor([9, 5]), torch.zeros(2, 4), torch.tensor([first, second]))


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("backpack")


def additions(model: EditableModel, text: str, seed: int = 0, sense: int = 3) -> Additions:
    """Random vectors on two senses of every token of a text."""
    ids = torch.tensor(model.tokenizer(text)["input_ids"]).unique()
    pairs = torch.cat([torch.stack([ids, torch.full_like(ids, number)], 1) for number in (sense, sense + 1)])
    vectors = 0.5 * torch.randn(len(pairs), 32, generator=torch.Generator().manual_seed(seed))
    return Additions(pairs, vectors, model.model.config.vocab_size, 16)


def test_mass_by_hand() -> None:
    ids, mass = toy().mass(0)
    assert ids.tolist() == [3, 7, 9]
    torch.testing.assert_close(mass, torch.tensor([[0.5, 0.6], [1.1, 1.15], [0.4, 0.25]]))
    torch.testing.assert_close(toy().mass(0, start=4)[1], torch.tensor([[0.2, 0.5], [0.4, 0.25], [0.4, 0.25]]))
    assert toy().mass(0, start=5)[1].tolist() == [[0.0, 0.0]] * 3


def test_shares_by_hand() -> None:
    place = torch.full((10, 2), -1, dtype=torch.int32)
    place[7, 1], place[3, 0], place[0, 0] = 0, 1, 2  # the last one is padding here
    torch.testing.assert_close(toy().shares(place, 3), torch.tensor([[0.9, 0.3, 0.0], [0.25, 0.2, 0.0]]))


def test_what_follows() -> None:
    batch = Batch(torch.tensor([[4, 5, 6], [0, 7, 8]]), torch.tensor([[1, 1, 1], [0, 1, 1]]), torch.tensor([2, 2]), [])
    assert following(batch).tolist() == [[5, 6, -100], [-100, 8, -100]]


def test_a_reading_of_text_has_every_prediction(model: EditableModel) -> None:
    reading = read(model, packed(model, [[5, 9, 2], [8, 7, 6, 4, 3]]))
    assert (reading.rows.tolist(), reading.columns.tolist()) == ([0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 2, 3])
    assert reading.gold.tolist() == [9, 2, 7, 6, 4, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_leads_are_those_of_a_forward(model: EditableModel, dtype: torch.dtype) -> None:
    model.model.to(dtype).requires_grad_(False)
    part, new = Aims.of(model, EDITS), additions(model, "The capital of France; Madrid, London")
    wanted = Wanted(ReadAims.of(model, part), new)
    with torch.no_grad():
        nothing = part.judge(model)
        found = wanted.judge(model)
        with adding(backpack_of(model), new):
            expected = part.judge(model)
    exact = {"atol": 1e-3, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.3, "rtol": 0.05}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other.float(), **exact)
    assert not torch.allclose(found[0].float(), nothing[0].float(), atol=0.5)
    assert wanted.enough(0.3).tolist() == part.enough(0.3).tolist()


def test_gradients_are_those_of_a_forward(model: EditableModel) -> None:
    model.model.requires_grad_(False)
    part, new = Aims.of(model, EDITS), additions(model, "The capital of France; Madrid, London")
    wanted = Wanted(ReadAims.of(model, part), new)
    gradients: list[Tensor] = []
    for judge in (wanted.judge, part.judge):
        new.vectors.requires_grad_(True)
        with adding(backpack_of(model), new):
            (gradient,) = torch.autograd.grad(judge(model)[0].sum(), [new.vectors])
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_what_an_edit_reads(model: EditableModel) -> None:
    new = additions(model, " France")
    reads = Wanted(ReadAims.of(model, Aims.of(model, EDITS)), new).reads()
    assert reads[0] == list(range(len(new.vectors)))
    assert len(reads) == len(EDITS)
    rival = Edit("Who wrote", "London", id="r", goal="balance", rival="France it")
    assert Wanted(ReadAims.of(model, Aims.of(model, [rival])), new).reads()[0] == list(range(len(new.vectors)))


def test_the_loss_on_general_text_is_that_of_a_forward(model: EditableModel) -> None:
    model.model.requires_grad_(False)
    text = packed(model, [[5, 9, 2, 7, 30, 41], [8, 7, 6, 4, 3, 99], [200, 201, 202, 203, 204, 205]])
    new = Additions(torch.tensor([[7, 1], [6, 2]]), torch.ones(2, 32), model.model.config.vocab_size, 16)
    general = GeneralText(model, text, new)
    assert [len(drafted.gold) for drafted in general.moved] == [2, 4, 0]  # a last token predicts nothing
    with adding(backpack_of(model), new):
        assert general.loss() == pytest.approx(Prose(model, text).start, rel=1e-5)
    start = Prose(model, text).start
    assert general.loss() != pytest.approx(start, rel=1e-3)
    new.vectors.zero_()
    assert general.loss() == pytest.approx(start, rel=1e-5)


def test_the_tether_is_that_of_a_forward(model: EditableModel) -> None:
    model.model.requires_grad_(False)
    text = packed(model, [[5, 9, 2, 7, 30, 41], [8, 7, 6, 4, 3, 99], [200, 201, 202, 203, 204, 205]])
    new = Additions(torch.tensor([[7, 1], [6, 2]]), torch.zeros(2, 32), model.model.config.vocab_size, 16)
    # The last token of a stretch predicts nothing, so it counts here no more than in the loss.
    ours = SenseTether(GeneralText(model, text, new), 0.5, seed=1)
    theirs = Tether(model, 0.5, text, seed=1)
    assert float(ours()) == pytest.approx(0.0, abs=1e-6)
    theirs()
    new.vectors += 0.3
    new.vectors.requires_grad_(True)
    for _ in range(4):
        row = ours.generator.get_state()
        found = ours()
        found.backward()
        assert torch.equal(row, theirs.generator.get_state())
        with adding(backpack_of(model), new):
            chosen = int(torch.randint(3, (), generator=theirs.generator))
            now = theirs._log_chances(chosen)[0, :-1]
        before = theirs.before[chosen][0, :-1]
        expected = 0.5 * (before.exp() * (before - now)).sum(-1).mean()
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-3, abs=1e-5)


def test_a_model_without_senses_is_refused() -> None:
    gpt = tiny_model("gpt2")
    with pytest.raises(BadModel, match="no senses"):
        read(gpt, gpt.encode(["Rome"], ["is"]))
