"""Data sets whose official files the user has fetched: the folder is named by `data.source`."""

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

    def file(self, *paths: str) -> bytes:
        """Reads a list of questions or captions.

        Args:
            *paths: Paths below the root at which it may be; the first that exists is read.

        Returns:
            The contents of the file.

        Raises:
            DataError: There is no source, or no such file in it.
        """
        if not self.source:
            raise DataError(
                f"{self.title} needs data.source, a folder with its official files, which {self.page} publishes"
            )
        for path in paths:
            content = self.read(path, MOST_LIST_BYTES)
            if content is not None:
                return content
        raise DataError(f"{self.title} in {quoted(self.source)} lacks {paths[0]}; fetch it from {self.page}")
