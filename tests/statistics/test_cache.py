"""The cache: whole entries under their content's hash, and damaged ones that count as absent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from errata.statistics import cache, cache_dir, kept


def test_its_place_is_the_variables_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("ERRATA_CACHE")
    assert cache_dir().name == "errata"


def test_an_entry_comes_back_as_it_was() -> None:
    entry = cache.address("moments", {"layer": 3, "model": "m"})
    assert cache.fetch(entry) is None
    matrix = torch.rand(4, 5, dtype=torch.float64).T  # not contiguous
    cache.store(entry, {"matrix": matrix}, {"tokens": 7})
    tensors, card = cache.fetch(entry) or ({}, {})
    assert torch.equal(tensors["matrix"], matrix)
    assert card["tokens"] == 7
    assert cache.address("moments", {"model": "m", "layer": 3}) == entry
    assert cache.address("moments", {"model": "m", "layer": 4}) != entry


def test_storing_again_replaces() -> None:
    entry = cache.address("x", {})
    for value in (1.0, 2.0):
        cache.store(entry, {"v": torch.tensor([value])}, {})
    tensors, _ = cache.fetch(entry) or ({}, {})
    assert tensors["v"].tolist() == [2.0]
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_two_processes_may_store_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = cache.address("x", {})
    cache.store(entry, {"v": torch.ones(1)}, {})
    monkeypatch.setattr(cache, "remove", lambda _: None)  # the other one stored after we looked
    cache.store(entry, {"v": torch.ones(1)}, {})
    assert cache.fetch(entry) is not None
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


@pytest.mark.parametrize("name", ["tensors.safetensors", "card.json"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_a_damaged_entry_counts_as_absent(name: str, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    entry = cache.address("x", {})
    cache.store(entry, {"v": torch.rand(50)}, {"tokens": 1})
    file = entry / name
    data = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    elif harm == "truncate":
        file.write_bytes(data[: len(data) // 2])
    else:
        place = data.index(b'"sha256": "') + 11 if name == "card.json" else len(data) - 3
        data[place] ^= 1
        file.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert cache.fetch(entry) is None
    assert "computed again" in caplog.text


def test_memory_lets_go_of_the_longest_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "budget", lambda: 20)
    for key in ("a", "b"):
        kept.hold((key,), key, 10)
    assert kept.find(("a",)) == "a"
    kept.hold(("c",), "c", 10)
    assert [kept.find((key,)) for key in "abc"] == ["a", None, "c"]


def test_memory_makes_a_value_once() -> None:
    made = []
    for _ in range(2):
        assert kept.remember(("k",), lambda: made.append(1) or "v", len) == "v"
    assert made == [1]
