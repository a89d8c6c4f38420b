"""Small files of a run or a saved model, read and written as a whole, on a disk or in a bucket (`gs://...`).

A reader never sees half of a file. On a disk it is written under another name, and renamed once it is complete and on
the medium; an object of a bucket appears as a whole or not at all.
"""

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Iterator
from typing import Any

import fsspec
from etils import epath

from smarttrim_jax.errors import CheckpointError, ConfigError, SmartTrimError
from smarttrim_jax.json_text import parse_json

MOST_BYTES = 2**26
"""The size above which files are not read; the small files of a run and of a model stay far below."""

_PART = ".part"


def read_whole(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> bytes:
    """Reads a file.

    Args:
        path: Path of a file on a disk or in a bucket; links are followed.
        most_bytes: Largest accepted size.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The file cannot be read, is no regular file (a folder, a pipe, a device) or is larger than
            `most_bytes`.
    """
    file = epath.Path(path)
    if in_bucket(file):
        with _bucket_errors():
            if not file.exists():
                raise FileNotFoundError(f"'{file}' is missing")
            content: bytes = file.read_bytes()
    else:
        # Without O_NONBLOCK, opening a pipe would wait until somebody writes to it.
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
    """Reads the JSON object in a file.

    Args:
        path: Path of a file on a disk or in a bucket.
        remedy: What to do if the file is missing or damaged, as the second half of a sentence.
        error: Type of the error to raise.

    Returns:
        The object; the caller checks its keys and values.

    Raises:
        SmartTrimError: An error of type `error`: the file is missing, cannot be read, or holds no JSON object.
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
    """Writes a file completely, or leaves what was there before.

    Args:
        path: Path of a file on a disk or in a bucket, in a folder that exists; or of a pipe or device.
        content: Bytes, or text to be written as UTF-8.

    Raises:
        OSError: The file cannot be written.
    """
    file, data = epath.Path(path), content.encode() if isinstance(content, str) else content
    if in_bucket(file):
        with _bucket_errors():
            file.write_bytes(data)
        return
    if _is_device(file):  # It must not be replaced.
        with open(file, "wb") as opened:
            opened.write(data)
        return
    half = _half_of(file)
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


def check_writable(path: str | os.PathLike[str]) -> None:
    """Finds out whether `write_whole` can write a file, and leaves what is there as it is.

    Args:
        path: Path of a file on a disk, or in a bucket, of which only the access is checked.

    Raises:
        ConfigError: It is in a bucket, and the package that accesses buckets is not installed.
        OSError: The file cannot be written.
    """
    file = epath.Path(path)
    check_access(file)
    if os.path.isdir(file):
        raise IsADirectoryError("it is a folder")
    if in_bucket(file) or _is_device(file):
        return
    tried = _half_of(file)
    with open(tried, "xb"):
        os.unlink(tried)


def check_access(path: str | os.PathLike[str]) -> None:
    """Checks that what reaches a bucket is installed, if a path is in one.

    Args:
        path: A path on a disk or in a bucket.

    Raises:
        ConfigError: It is not installed.
    """
    if os.fspath(path).startswith("gs://"):
        try:
            fsspec.get_filesystem_class("gcs")
        except ImportError:
            raise ConfigError(f"'{path}' is a bucket; pip install -e '.[gcs]' brings what reaches it") from None


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes a JSON object as a whole; see `write_whole`.

    Args:
        path: Path of a file on a disk or in a bucket, in a folder that exists.
        content: The object.

    Raises:
        OSError: The file cannot be written.
    """
    write_whole(path, json.dumps(content, indent=1) + "\n")


def remove_halves(folder: str | os.PathLike[str]) -> None:
    """Removes incomplete files that interrupted writers left in a folder; call it while nobody else writes there.

    Args:
        folder: Path of the folder.
    """
    for half in epath.Path(folder).glob(f".*{_PART}"):
        half.unlink(missing_ok=True)


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Tells whether a path names an object of a bucket instead of a file on a disk.

    Args:
        path: The path.

    Returns:
        Whether it contains "://".
    """
    return "://" in os.fspath(path)


def _is_device(file: epath.Path) -> bool:
    """Tells whether there is something at a path that is no regular file: a pipe or a device, as /dev/stdout."""
    return os.path.exists(file) and not os.path.isfile(file)


def _half_of(file: epath.Path) -> epath.Path:
    """A name for a file that is not complete, a new one each time, so that two writers do not write to the same."""
    return file.parent / f".{file.name}.{uuid.uuid4().hex[:8]}{_PART}"


@contextlib.contextmanager
def _bucket_errors() -> Iterator[None]:
    """Turns the errors of bucket clients, which have types of their own, into OSErrors like those of a disk."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _sync_folder(folder: epath.Path) -> None:
    """Writes a rename to the medium, if the file system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
