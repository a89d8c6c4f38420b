"""Writes the images of a data set, each of them once, and goes on where an earlier start stopped."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from smarttrim_jax.data.image_files import INDEX, record_count, shard_name
from smarttrim_jax.data.schema import Image
from smarttrim_jax.errors import DataError
from smarttrim_jax.small_files import in_bucket, read_json, write_json

SHARD_BYTES = 2**28
"""Size from which on a file of images is complete and another one begins; what an interruption loses is less."""


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """What tells an image of a record from others before its file is read.

    Attributes:
        key: Path, or SHA-256 of the contents.
        state: Size and time of the last change of a file on a disk, so that another file of the same path is
            noticed; "" for contents and for objects of a bucket.
    """

    key: str
    state: str = ""

    @classmethod
    def of(cls, image: Image) -> "ImageSource":
        """Describes an image of a record.

        Args:
            image: Path of its file, or the file's contents.

        Returns:
            The description.

        Raises:
            OSError: There is no such file.
        """
        key = cls.key_of(image)
        if isinstance(image, bytes) or in_bucket(key):
            return cls(key)
        status = os.stat(key)
        return cls(key, f"{status.st_size} {status.st_mtime_ns}")

    @staticmethod
    def key_of(image: Image) -> str:
        """Returns the `key` of an image, without looking at its file."""
        return hashlib.sha256(image).hexdigest() if isinstance(image, bytes) else os.fspath(image)


class ImageWriter:
    """Writes images to a folder, in files that are complete or absent; opened again, it goes on after the last one.

    Images of equal contents are written once, wherever they come from.

    Args:
        folder: Folder of the image files, which is created if missing.

    Attributes:
        folder: As given.
        counts: Number of images in each complete file.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._numbers: dict[str, int] = {}  # by SHA-256 of the contents
        self._sources: dict[str, tuple[str, int]] = {}  # state and number by the key of a source
        self._first = 0
        self.counts: list[int] = []
        while self._has_complete_shard():
            pass
        self._begin()

    def number(self, source: ImageSource) -> int | None:
        """Returns the number of an image that is written already; None for other images."""
        state, number = self._sources.get(source.key, ("", None))
        return number if state == source.state else None

    def number_of(self, image: Image) -> int:
        """Returns the number of a written image, without looking at its file again.

        Args:
            image: Image of a record that was written.

        Returns:
            Its number, from 0.
        """
        return self._sources[ImageSource.key_of(image)][1]

    def add(self, source: ImageSource, content: bytes) -> None:
        """Writes an image, unless one of equal contents is written already.

        Args:
            source: What the image is found by.
            content: Contents of its file.
        """
        digest = hashlib.sha256(content).hexdigest()
        number = self._numbers.get(digest)
        if number is None:
            number = self._first + len(self._digests)
            self._numbers[digest] = number
            self._digests.append(digest)
            self._writer.write(content)
            self._bytes += len(content)
        self._sources[source.key] = (source.state, number)
        self._new_sources[source.key] = [source.state, number]
        if self._bytes >= SHARD_BYTES:
            self.complete()

    def complete(self) -> None:
        """Completes the file that is being written, if it holds any image."""
        self._writer.close()
        if self._digests:
            shard = len(self.counts)
            self._part.rename(self.folder / shard_name(shard))
            write_json(self._list(shard), {"digests": self._digests, "sources": self._new_sources})
            self._first += len(self._digests)
            self.counts.append(len(self._digests))
        self._begin()

    def link_into(self, folder: pathlib.Path) -> None:
        """Adds the complete image files and their index to a folder: as hard links, or else as copies.

        Args:
            folder: The folder.
        """
        write_json(folder / INDEX, {"images": self.counts})
        for number in range(len(self.counts)):
            name = shard_name(number)
            try:
                os.link(self.folder / name, folder / name)
            except OSError:  # Some file systems have no hard links.
                shutil.copyfile(self.folder / name, folder / name)

    @property
    def _part(self) -> pathlib.Path:
        return self.folder / "unfinished.part"

    def _list(self, shard: int) -> pathlib.Path:
        """Path of the list that makes an image file complete."""
        return self.folder / f"images-{shard:05}.json"

    def _begin(self) -> None:
        self._digests: list[str] = []
        self._new_sources: dict[str, list[Any]] = {}
        self._bytes = 0
        self._writer = ArrayRecordWriter(str(self._part), "group_size:1")

    def _has_complete_shard(self) -> bool:
        """Takes over the next complete file of an earlier start, if there is one."""
        shard = len(self.counts)
        try:
            listed = read_json(self._list(shard), "it is written anew", DataError)
            digests: list[str] = listed["digests"]
            sources: dict[str, list[Any]] = listed["sources"]
            if record_count(self.folder / shard_name(shard)) != len(digests):
                return False
            self._sources |= {key: (str(state), int(number)) for key, (state, number) in sources.items()}
        except Exception:  # Whatever is damaged is written anew; array_record raises types of its own.
            return False
        self._numbers |= {digest: self._first + i for i, digest in enumerate(digests)}
        self._first += len(digests)
        self.counts.append(len(digests))
        return True
