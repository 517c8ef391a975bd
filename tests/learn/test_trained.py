"""The directory of a trained editor: what comes back, and each way in which it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from errata.errors import BadConfig, BadPatch, WrongModel
from errata.learn.trained import TrainedEditor, from_pretrained, push_to_hub
from errata.models import EditableModel
from errata.patches.weights import LowRank, WeightPatch
from tiny import tiny_model


def made(model: EditableModel | None = None, **tensors: torch.Tensor) -> TrainedEditor:
    given = tensors or {"net.A": torch.arange(6.0).view(2, 3), "count": torch.tensor(7.0, dtype=torch.float64)}
    return TrainedEditor.of(model or tiny_model("bert"), "mend", {"rank": 4, "editor": ""}, given, {"steps": 3})


def test_what_is_saved_comes_back(tmp_path: Path):
    editor = made()
    editor.save(tmp_path / "new" / "editor")
    back = TrainedEditor.load(tmp_path / "new" / "editor")
    assert (back.method, back.options, back.base, back.facts) == (
        editor.method, editor.options, editor.base, editor.facts
    )  # fmt: skip
    assert back.facts["steps"] == 3
    assert set(back.facts["versions"]) == {"torch", "transformers"}
    assert back.tensors.keys() == editor.tensors.keys()
    for name, tensor in editor.tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert torch.equal(back.tensors[name], tensor)


def card(path: Path, **changes: Any) -> None:
    told = json.loads((path / "editor.json").read_text())
    (path / "editor.json").write_text(json.dumps({**told, **changes}))


def short(path: Path) -> None:
    data = (path / "editor.safetensors").read_bytes()
    (path / "editor.safetensors").write_bytes(data[:-5])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (short, "truncated or was changed"),
        (lambda path: (path / "editor.safetensors").unlink(), "cannot read .*No such file"),
        (lambda path: (path / "editor.json").unlink(), "holds no trained editor"),
        (lambda path: (path / "editor.json").write_text("{"), "damaged"),
        (lambda path: (path / "editor.json").write_text("[1]"), "not the card of a trained editor"),
        (lambda path: card(path, format=99), "newer than this version knows; update errata"),
        (lambda path: card(path, options=[]), "lacks 'options'"),
    ],
)
def test_a_damaged_editor_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], Any], told: str):
    made().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(BadPatch, match=told) as caught:
        TrainedEditor.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_nan_is_neither_saved_nor_loaded(tmp_path: Path):
    with pytest.raises(BadPatch, match="tensor 'A' of the editor holds NaN"):
        made(A=torch.tensor([1.0, float("nan")])).save(tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_it_is_bound_to_a_model_whose_patches_do_not_count_and_to_a_method(tmp_path: Path):
    model = tiny_model("gpt2")
    editor = made(model)
    path = model.arch.matrix(1, "mlp_down")
    delta = LowRank(torch.ones(32, 1), torch.ones(1, 48))
    WeightPatch({f"{path}.weight": delta}, method="ft", config={}, edits=["e1"]).attach(model)
    editor.check(model, "mend")
    with pytest.raises(BadConfig, match="trained for the method 'mend', not 'salem'"):
        editor.check(model, "salem")
    with pytest.raises(WrongModel, match=r"trained for tiny-gpt2 .* and the model is tiny-llama .*errata train"):
        editor.check(tiny_model("llama"), "mend")


def test_a_directory_or_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stand-in for the hub: what is uploaded under a name can be downloaded under it."""
    import huggingface_hub

    hub = tmp_path / "hub"

    class Api:
        def create_repo(self, repo: str, *, private: bool | None, exist_ok: bool) -> None:
            assert exist_ok
            (hub / repo).mkdir(parents=True)

        def upload_folder(self, *, folder_path: Path, repo_id: str, allow_patterns: list[str]) -> str:
            for name in allow_patterns:
                if (Path(folder_path) / name).is_file():
                    shutil.copy(Path(folder_path) / name, hub / repo_id / name)
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(hub / name))
    place = tmp_path / "editor"
    made().save(place)
    (place / "checkpoint.safetensors").write_bytes(b"not to be published")
    assert push_to_hub(place, "me/editor") == "https://hub/me/editor"
    assert sorted(path.name for path in (hub / "me" / "editor").iterdir()) == ["editor.json", "editor.safetensors"]
    local, fetched = from_pretrained(place), from_pretrained("me/editor")
    assert local.facts == fetched.facts
    assert torch.equal(local.tensors["net.A"], fetched.tensors["net.A"])


@pytest.mark.parametrize("name", ["no/such/place", "nowhere/editor"])
def test_an_editor_that_is_nowhere(name: str, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    def unreachable(name: str, **_: Any) -> str:
        huggingface_hub.utils.validate_repo_id(name)
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot find it\nin the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(BadConfig, match=f"there is no editor at '{name}'") as caught:
        from_pretrained(name)
    assert "\n" not in str(caught.value)
