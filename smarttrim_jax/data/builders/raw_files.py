"""Raw files of a data set by their path below its root: from folders or archives, on a disk or in a bucket."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Protocol

import fsspec

from smarttrim_jax.data.builders.archives import Archives
from smarttrim_jax.errors import DataError, quoted, reason
from smarttrim_jax.small_files import in_bucket, read_whole

MOST_BYTES = 2**28
"""Maximum size of a raw file, unless a reader is told of another."""
MOST_LIST_BYTES = 2**31
"""Maximum size of a list of questions or captions; VQA's answers are 400 MB."""
_NOT_FETCHED = ("http", "https", "ftp")


class Reader(Protocol):
    """Function that reads a raw file."""

    def __call__(self, name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        """Reads a file.

        Args:
            name: Path of the file below the root, such as `dev/dev.json`.
            most_bytes: Maximum size of the file.

        Returns:
            Its bytes; None if there is no such file.

        Raises:
            DataError: The file is too large or cannot be read.
        """


def open_source(source: str, roots: tuple[str, ...], workspace: str | None = None) -> Reader:
    """Opens a source.

    Args:
        source: A folder that holds one of `roots`; a .tar.gz archive that does, at any depth; or a folder of such
            archives. It is on a disk, or in a bucket (`gs://...`, or another scheme that fsspec supports).
        roots: Names of the folders and files at the data set's root.
        workspace: Folder of a temporary file with the contents of archives, created if missing; None for the system's
            folder for temporary files.

    Returns:
        The reader of its files.

    Raises:
        DataError: The source does not exist, cannot be reached, holds none of `roots`, or is an archive that is
            damaged or hostile.
    """
    place = _Bucket(source) if in_bucket(source) else _Disk(source)
    with place.errors():
        names = place.names()
    if names is not None and not set(roots).isdisjoint(names):
        return place.read
    archives = [""] if names is None else sorted(name for name in names if name.endswith(".tar.gz"))
    below_root = re.compile(rf"(?:.*?/)??((?:{'|'.join(map(re.escape, roots))})(?:/.+)?)")
    files = Archives(workspace, below_root)
    for name in archives:
        with place.errors(), place.open(name) as archive:
            files.add(archive, f"{source}/{name}" if name else source)
    if not files:
        raise DataError(f"no data at {quoted(source)}; it must be a folder or .tar.gz that holds {', '.join(roots)}")
    return files.read


def is_archive(source: str, roots: tuple[str, ...]) -> bool:
    """Tells whether `open_source` reads a source from archives.

    Args:
        source: A folder, an archive or a folder of archives.
        roots: Names of the folders and files at the data set's root.

    Returns:
        Whether the source is no folder that holds one of `roots`.

    Raises:
        DataError: The source cannot be reached.
    """
    place = _Bucket(source) if in_bucket(source) else _Disk(source)
    with place.errors():
        return set(roots).isdisjoint(place.names() or ())


def open_folder(source: str) -> Reader:
    """Opens a folder with any content.

    Args:
        source: Folder on a disk or in a bucket.

    Returns:
        The reader of files by a path below the folder, or an absolute path on this machine.

    Raises:
        DataError: There is no such folder, or it cannot be reached.
    """
    place = _Bucket(source) if in_bucket(source) else _Disk(source)
    with place.errors():
        if not place.names():
            raise DataError(f"there is no folder {quoted(source)} with files in it; give one as data.source")
    machine = _Disk("/")

    def read(name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        """Reads a file; see `Reader`. A path may be absolute on this machine.

        Args:
            name: Path below the folder, or absolute.
            most_bytes: Maximum size of the file.

        Returns:
            Its bytes; None if there is no such file.
        """
        if os.path.isabs(name):
            return machine.read(name.lstrip("/"), most_bytes)
        return place.read(name, most_bytes)

    return read


class _Disk:
    """A folder or file on a disk."""

    def __init__(self, source: str) -> None:
        self._source = source
        with self.errors():
            self._path = pathlib.Path(source).expanduser()

    def names(self) -> list[str] | None:
        """Lists the entries of the folder; None for a file."""
        if self._path.is_dir():
            return os.listdir(self._path)
        return None if self._path.is_file() else []

    def open(self, name: str) -> Any:
        """Opens a file.

        Args:
            name: Path below the folder; "" for the source itself.

        Returns:
            Binary file.
        """
        return open(self._path / name, "rb")

    def read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        """Reads a file.

        Args:
            name: Path below the folder.
            most_bytes: Maximum size.

        Returns:
            Its bytes; None if there is no such file.
        """
        with self.errors(name):
            try:
                return read_whole(self._path / name, most_bytes)
            except (FileNotFoundError, NotADirectoryError):
                return None

    @contextlib.contextmanager
    def errors(self, name: str = "") -> Iterator[None]:
        """Context that converts exceptions to a DataError that names the source or a file in it.

        Args:
            name: Path below the folder; "" for the source itself.

        Yields:
            Nothing.
        """
        with _one_sentence(os.path.join(self._source, name) if name else self._source):
            yield


class _Bucket:
    """A folder or object that fsspec can access."""

    def __init__(self, source: str) -> None:
        self._source = source
        scheme = source.split("://")[0]
        if not scheme.isalnum() or scheme in _NOT_FETCHED:
            raise DataError(f"data.source is {quoted(source)}, which is not fetched; download it and give its path")
        with self.errors():
            try:
                self._files, self._root = fsspec.url_to_fs(source)
            except ImportError as error:
                extra = "pip install -e '.[gcs]' brings what reaches it" if scheme in ("gs", "gcs") else reason(error)
                raise DataError(f"data.source is {quoted(source)}, a bucket; {extra}") from None

    def names(self) -> list[str] | None:
        """Lists the entries of the folder; None for an object."""
        if self._files.isfile(self._root):
            return None
        if not self._files.isdir(self._root):
            return []
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in self._files.ls(self._root, detail=False)]

    def open(self, name: str) -> Any:
        """Opens an object.

        Args:
            name: Path below the folder; "" for the source itself.

        Returns:
            Binary file.
        """
        return self._files.open(self._below(name), "rb")

    def read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        """Reads an object.

        Args:
            name: Path below the folder.
            most_bytes: Maximum size.

        Returns:
            Its bytes; None if there is no such object.
        """
        with self.errors(name):
            try:
                with self.open(name) as file:
                    content: bytes = file.read(most_bytes + 1)
            except FileNotFoundError:
                return None
            if len(content) > most_bytes:
                raise DataError(f"{quoted(name)} is larger than {most_bytes:,} bytes")
            return content

    @contextlib.contextmanager
    def errors(self, name: str = "") -> Iterator[None]:
        """Context that converts exceptions to a DataError that names the source or an object in it.

        Args:
            name: Path below the folder; "" for the source itself.

        Yields:
            Nothing.
        """
        with _one_sentence(f"{self._source}/{name}" if name else self._source):
            yield

    def _below(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


@contextlib.contextmanager
def _one_sentence(path: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # Libraries that access buckets raise types of their own.
        raise DataError(f"cannot read {quoted(path)}: {reason(error)}; check data.source") from error
