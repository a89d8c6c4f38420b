"""Small files of a run or a saved model, read and written as a whole, on a disk or in a bucket (`gs://...`).

A reader never meets half of a file: on a disk it is written under another name and renamed when it is complete and on
the medium; an object of a bucket is there as a whole or not at all.
"""

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Iterator
from typing import Any

from etils import epath

from smarttrim_jax.errors import CheckpointError, SmartTrimError
from smarttrim_jax.json_text import parse_json

MOST_BYTES = 2**26
"""Larger files are not read: a run's and a model's own small files stay far below."""

_PART = ".part"


def read_whole(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: File on a disk or in a bucket; links are followed.
        most_bytes: Size up to which it is read.

    Returns:
        Its bytes.

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be read, is no regular file (a folder, a pipe, a device) or is larger than `most_bytes`.
    """
    file = epath.Path(path)
    if in_bucket(file):
        with _bucket_errors():
            if not file.exists():
                raise FileNotFoundError(f"'{file}' is missing")
            content = file.read_bytes()
    else:
        # A pipe that nobody writes to would be waited for without O_NONBLOCK.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("it is no regular file")
            with open(descriptor, "rb", closefd=False) as opened:
                content = opened.read(most_bytes + 1)
        finally:
            os.close(descriptor)
    if len(content) > most_bytes:
        raise OSError(f"it is larger than {most_bytes:,} bytes")
    return content


def read_json(
    path: str | os.PathLike[str], remedy: str, error: type[SmartTrimError] = CheckpointError
) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: File on a disk or in a bucket.
        remedy: What to do where it is missing or damaged, as the second half of a sentence.
        error: Type of the error.

    Returns:
        The object; what its keys hold is for the caller to check.

    Raises:
        SmartTrimError: One sentence, of type `error`: the file is missing, cannot be read, or holds no JSON object.
    """
    try:
        content = parse_json(read_whole(path).decode("utf-8-sig"))
    except FileNotFoundError:
        raise error(f"'{path}' is missing; {remedy}") from None
    except OSError as problem:
        raise error(f"'{path}' cannot be read ({problem.strerror or problem}); {remedy}") from None
    except UnicodeDecodeError:
        raise error(f"'{path}' is damaged (it is not UTF-8); {remedy}") from None
    except ValueError as problem:
        raise error(f"'{path}' is damaged (no JSON: {problem}); {remedy}") from None
    if not isinstance(content, dict):
        raise error(f"'{path}' is damaged (it holds no object, but a {type(content).__name__}); {remedy}")
    return content


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file, or leaves what was there before.

    Args:
        path: File on a disk or in a bucket, in a folder that exists.
        content: Bytes, or text to be written as UTF-8.

    Raises:
        OSError: It cannot be written.
    """
    file, data = epath.Path(path), content.encode() if isinstance(content, str) else content
    if in_bucket(file):
        with _bucket_errors():
            file.write_bytes(data)
        return
    # A name of its own, so that two writers do not share a half.
    half = file.parent / f".{file.name}.{uuid.uuid4().hex[:8]}{_PART}"
    try:
        with open(half, "xb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(half, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(half)
        raise
    _sync_folder(file.parent)


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes a JSON object as a whole; see `write_whole`."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def remove_halves(folder: str | os.PathLike[str]) -> None:
    """Removes what writers that were killed left half written in a folder; only while nobody else writes there."""
    for half in epath.Path(folder).glob(f".*{_PART}"):
        half.unlink(missing_ok=True)


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path names an object of a bucket and not a file on a disk."""
    return "://" in os.fspath(path)


@contextlib.contextmanager
def _bucket_errors() -> Iterator[None]:
    """What reaches a bucket raises types of its own; for a caller they are what a disk's errors are."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _sync_folder(folder: epath.Path) -> None:
    """Brings a rename to the medium, where the file system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
