"""SHA-256 digests of the files in a folder, kept beside them to detect changes since they were written."""

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from etils import epath

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.small_files import read_json, write_json

DIGESTS = "digests.json"


def record_digests(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Records the digests of files in a folder; those recorded for other files are kept.

    Args:
        folder: Folder on a disk or in a bucket.
        names: Names of the files in it.

    Raises:
        OSError: A file cannot be read, or the digests cannot be written.
    """
    path = epath.Path(folder)
    try:
        known = read_json(path / DIGESTS, "")
    except CheckpointError:  # none are recorded yet, or they are damaged and written anew
        known = {}
    write_json(path / DIGESTS, known | {name: _sha256(path / name) for name in names})


def read_digests(folder: str | os.PathLike[str], remedy: str) -> dict[str, Any]:
    """Reads the digests recorded in a folder.

    Args:
        folder: Folder on a disk or in a bucket.
        remedy: What to do if they are damaged, as the second half of a sentence.

    Returns:
        The digests by file name; empty if none were recorded.

    Raises:
        CheckpointError: The digests are damaged.
    """
    path = epath.Path(folder)
    return read_json(path / DIGESTS, remedy) if (path / DIGESTS).exists() else {}


def check_digest(file: str | os.PathLike[str], digest: Any, most_bytes: int, remedy: str) -> None:
    """Checks that a file has the digest that was recorded.

    Args:
        file: File on a disk or in a bucket.
        digest: The recorded digest.
        most_bytes: Largest accepted size. A file may claim to be larger than any disk, and would be read for hours.
        remedy: What to do if the file has changed, as the second half of a sentence.

    Raises:
        CheckpointError: The file has another digest, is larger than `most_bytes`, or cannot be read.
    """
    path = epath.Path(file)
    try:
        size = path.stat().length
        if size > most_bytes:
            raise CheckpointError(f"'{file}' has {size:,} bytes, more than it can need; {remedy}")
        is_same = _sha256(path) == digest
    except OSError as error:
        raise CheckpointError(f"'{file}' cannot be read ({error.strerror or error}); {remedy}") from None
    if not is_same:
        raise CheckpointError(
            f"'{file}' was changed since it was written (its SHA-256 is not that of {DIGESTS}); {remedy}"
        )


def _sha256(file: epath.Path) -> str:
    """The digest of a file in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
