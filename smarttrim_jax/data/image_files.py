"""The image files of a prepared data set, which hold each image once; records refer to images by their numbers."""

import bisect
import functools
import itertools
import os
import pathlib
from collections.abc import Sequence

from array_record.python.array_record_data_source import ArrayRecordDataSource

from smarttrim_jax.errors import DataError, reason

INDEX = "images.json"
"""Name of the file that tells how many images each image file holds."""


def shard_name(number: int) -> str:
    """Returns the name of an image file.

    Args:
        number: Its number, from 0.

    Returns:
        The name.
    """
    return f"images-{number:05}.array_record"


def record_count(path: str | os.PathLike[str]) -> int:
    """Counts the records of an array_record file.

    Args:
        path: Path of the file.

    Returns:
        Their number.

    Raises:
        Exception: The file is missing or damaged; array_record raises types that have no common base.
    """
    return len(ArrayRecordDataSource([os.fspath(path)]))


class ImageFiles:
    """Random access to the images of a prepared data set, as the contents of their files.

    Args:
        paths: Paths of the image files, in their order.
        counts: Number of images in each.
        remedy: What to do about damage, as the second half of a sentence.
    """

    def __init__(self, paths: Sequence[pathlib.Path], counts: Sequence[int], remedy: str) -> None:
        self._paths = paths
        self._ends = list(itertools.accumulate(counts))
        self._remedy = remedy

    @functools.cached_property
    def _contents(self) -> ArrayRecordDataSource:
        """The files, opened when the first image is read: whoever reads records alone waits for none of them."""
        return ArrayRecordDataSource([str(path) for path in self._paths])

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, numbers: Sequence[int]) -> list[bytes]:
        """Reads images.

        Args:
            numbers: Their numbers, each at least 0 and below the number of images.

        Returns:
            Contents of their files.

        Raises:
            DataError: An image file is damaged; the message names it.
        """
        try:
            return list(self._contents.__getitems__(numbers))
        except Exception:  # Reading them one by one shows which is damaged.
            return [self._read_one(number) for number in numbers]

    def _read_one(self, number: int) -> bytes:
        try:
            content: bytes = self._contents[number]
        except Exception as error:  # array_record raises types that have no common base.
            path = self._paths[bisect.bisect_right(self._ends, number)]
            raise DataError(f"image {number} in '{path}' is damaged: {reason(error)}; {self._remedy}") from error
        return content
