"""Data sets whose official files the user has fetched: the folder is named by `data.source`."""

from collections.abc import Sequence
from typing import ClassVar

from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.builders.raw_files import MOST_LIST_BYTES
from smarttrim_jax.errors import DataError, quoted

CALIBRATION_PERIOD = 50
"""One in so many training images is held out for calibration, where no official split is."""


class OfficialFiles(DatasetBuilder):
    """Base of data sets that are read from their official files.

    Attributes:
        title: What the data set is called in sentences.
        page: Where its files are published.
    """

    title: ClassVar[str]
    page: ClassVar[str]

    def lists(self) -> Sequence[str]:
        """Names the lists that these options need, so that all that are missing are told at once."""
        return ()

    def file(self, *paths: str) -> bytes:
        """Reads a list of questions or captions.

        Args:
            *paths: Paths below the root at which it may be; the first that exists is read.

        Returns:
            The contents of the file.

        Raises:
            DataError: There is no source, or no such file in it; the message names all `lists` that are missing.
        """
        if not self.source:
            raise DataError(
                f"{self.title} needs data.source, a folder with its official files, which {self.page} publishes"
            )
        for path in paths:
            content = self.read(path, MOST_LIST_BYTES)
            if content is not None:
                return content
        missing = [paths[0], *(path for path in self.lists() if self.read(path, MOST_LIST_BYTES) is None)]
        names = ", ".join(dict.fromkeys(missing))
        raise DataError(f"{self.title} in {quoted(self.source)} lacks {names}; fetch it from {self.page}")
