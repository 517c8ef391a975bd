"""Files that are whole or absent after a crash: written aside, synced to the disk, then renamed into place.

Knows bytes, checksums and directories, and where the cache is; nothing of what the files mean.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from errata.errors import BadSheet

CACHE_VARIABLE = "ERRATA_CACHE"
_CHUNK = 1 << 20  # bytes


def cache_dir() -> Path:
    """Where Errata keeps what it can compute again: $ERRATA_CACHE, else the user's cache directory."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).expanduser()
    from platformdirs import user_cache_path  # a journal is written without it

    return user_cache_path("errata")


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new directory beside `target` that becomes `target` (absent or empty) when the block ends well."""
    stage = _aside(target)
    try:
        stage.mkdir(parents=True)
        yield stage
        sync_directory(stage)
        os.rename(stage, target)
        sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of `target`, waiting for the process that has it, and remove what killed processes left of it.

    The lock is a file beside `target`; the system releases it when the process ends, however it ends.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits for the disk. Not atomic by itself: for files in a staged directory."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file that is whole, on the disk and under its name when this returns, or absent."""
    aside = _aside(path)
    try:
        write_synced(aside, data)
        os.replace(aside, path)
        sync_directory(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def copy_file(source: Path, target: Path, sha256: str) -> None:
    """Copies atomically, checking the bytes on the way; the caller syncs the directory. Raises BadSheet."""
    join_files([source], target, sha256)


def join_files(sources: Sequence[Path], target: Path, sha256: str) -> None:
    """Write the bytes of `sources`, one after another, to `target`, as `copy_file` does. Raises BadSheet."""
    aside, digest = _aside(target), hashlib.sha256()
    try:
        with aside.open("xb") as writer:
            for source in sources:
                with source.open("rb") as reader:
                    while chunk := reader.read(_CHUNK):
                        digest.update(chunk)
                        writer.write(chunk)
            writer.flush()
            os.fsync(writer.fileno())
        _compare(sources[0], digest.hexdigest(), sha256)
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def check_file(path: Path, sha256: str) -> None:
    """Raises BadSheet when the file's bytes have another checksum."""
    with path.open("rb") as stream:
        _compare(path, hashlib.file_digest(stream, "sha256").hexdigest(), sha256)


def sync_directory(path: Path) -> None:
    """Makes renames inside a directory durable."""
    _sync(path)


def sync_files(folder: Path) -> None:
    """Wait until the files that a library wrote into `folder` are on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _aside(target: Path) -> Path:
    return target.parent / f".{target.name}.{secrets.token_hex(8)}"


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise BadSheet(f"{path} is not what was recorded (its checksum differs); restore it from a copy")
