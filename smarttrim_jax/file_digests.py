"""The SHA-256 of files in a folder, kept beside them: what was changed since it was written is noticed."""

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from etils import epath

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.small_files import read_json, write_json

DIGESTS = "digests.json"


def record_digests(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Notes the digests of files that were written; those of others are kept.

    Args:
        folder: On a disk or in a bucket.
        names: Of the files in it.

    Raises:
        OSError: A file cannot be read, or the digests not be written.
    """
    path = epath.Path(folder)
    try:
        known = read_json(path / DIGESTS, "")
    except CheckpointError:  # there are none yet, or they are damaged and written anew
        known = {}
    write_json(path / DIGESTS, known | {name: _sha256(path / name) for name in names})


def read_digests(folder: str | os.PathLike[str], remedy: str) -> dict[str, Any]:
    """The digests of a folder's files by their names; none where none were noted.

    Args:
        folder: On a disk or in a bucket.
        remedy: What to do where they are damaged.

    Raises:
        CheckpointError: They are damaged.
    """
    path = epath.Path(folder)
    return read_json(path / DIGESTS, remedy) if (path / DIGESTS).exists() else {}


def check_digest(file: str | os.PathLike[str], digest: Any, most_bytes: int, remedy: str) -> None:
    """Makes sure that a file is the one whose digest was noted.

    Args:
        file: On a disk or in a bucket.
        digest: What was noted.
        most_bytes: Its size at most. A file can be said to be larger than any disk, and would be read for hours.
        remedy: What to do where it is not, as the second half of a sentence.

    Raises:
        CheckpointError: It is another, larger, or cannot be read.
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
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
