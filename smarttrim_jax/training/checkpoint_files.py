"""The list of a checkpoint's files on a disk, by which missing and changed files are found.

The list is written when the files are complete and before the checkpoint gets its final name, so that it exists
whenever the checkpoint does. Buckets check their own objects, and reading these again would cost as much as loading
them: checkpoints in buckets have no list.
"""

import os
import zlib
from collections.abc import Iterator
from typing import Any

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.small_files import in_bucket, read_json, write_json

LIST = "files.json"
CHECKPOINT_METADATA = "_CHECKPOINT_METADATA"
COMMITTED = "commit_success.txt"

_KEY = "size and crc32"
# Orbax writes these after the list. The first holds a digest of its own content.
_UNLISTED = (CHECKPOINT_METADATA, COMMITTED, LIST)
_BLOCK = 2**20


def list_files(folder: str) -> None:
    """Writes the list of files into a checkpoint on a disk that is complete except for its final name.

    Args:
        folder: Folder of the checkpoint under its temporary name.

    Raises:
        OSError: The checkpoint cannot be read, or the list cannot be written.
    """
    write_json(os.path.join(folder, LIST), {_KEY: dict(_measured(folder))})


def has_list(path: str) -> bool:
    """Tells whether a checkpoint has a list of its files.

    Args:
        path: Folder of one checkpoint, on a disk or in a bucket.

    Returns:
        True if there is a list; never in a bucket.
    """
    return not in_bucket(path) and os.path.exists(os.path.join(path, LIST))


def misfits(path: str, part: str = "") -> list[str]:
    """Finds listed files that are missing or have another size; contents are not read.

    Args:
        path: Folder of one checkpoint with a list.
        part: Subfolder to look at; "" for the whole checkpoint.

    Returns:
        Names of the files, relative to the checkpoint. Empty where the list itself is damaged, since the arrays are
        checked by digests of their own.
    """
    listed = _listed(path).items()
    return [name for name, known in listed if known and name.startswith(part) and not _has_size(path, name, known[0])]


def changed_files(path: str, part: str = "") -> list[str]:
    """Finds files of a checkpoint that are missing, added, or different from what was written.

    Args:
        path: Folder of one checkpoint with a list.
        part: Subfolder to look at; "" for the whole checkpoint.

    Returns:
        Sorted names of the files, relative to the checkpoint; the list's own name where the list is damaged.
    """
    known, have = _listed(path), dict(_measured(path, part))
    names = {name for name in known if name.startswith(part)} | have.keys()
    return sorted(name for name in names if have.get(name) != known.get(name))


def _listed(path: str) -> dict[str, Any]:
    """Reads the list: size and checksum by file name. Where it is damaged, its only entry is its own name."""
    try:
        listed = read_json(os.path.join(path, LIST), "")[_KEY]
        is_list = all(isinstance(known, list) and len(known) == 2 for known in listed.values())
    except (CheckpointError, KeyError, AttributeError):
        is_list = False
    return listed if is_list else {LIST: None}


def _has_size(path: str, name: str, size: int) -> bool:
    file = os.path.join(path, name)
    return os.path.isfile(file) and os.path.getsize(file) == size


def _measured(path: str, part: str = "") -> Iterator[tuple[str, list[int]]]:
    """Yields the name of every file of a checkpoint, with its size in bytes and its CRC-32."""
    for parent, _, names in os.walk(os.path.join(path, part)):
        for name in sorted(names):
            file = os.path.join(parent, name)
            relative = os.path.relpath(file, path)
            if relative not in _UNLISTED:
                yield relative, [os.path.getsize(file), _crc32(file)]


def _crc32(file: str) -> int:
    checksum = 0
    with open(file, "rb") as opened:
        while block := opened.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
