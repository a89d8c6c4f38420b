"""Builds the index of a folder of images, and brings an earlier one up to date."""

import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smarttrim_jax.errors import DataError
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.serving.comparing import Comparing, batched
from smarttrim_jax.serving.index_file import ImageFile, IndexFile, check_index_name, files_of
from smarttrim_jax.serving.questions import QuestionReader
from smarttrim_jax.trimming.gates import Trim

SAVE_SECONDS = 60.0
"""Time after which an index that is being built is saved again, so that an end by force loses no more than that."""


class IndexBuilder:
    """Builds the index of a folder, or brings an earlier one up to date.

    Args:
        made_by: What the features depend on; an index that was made by something else is refused.
        comparing: The model's programs.
        trim: How the trimmers decide; None runs at full capacity.
        reader: Prepares images.
        batch_size: Number of images computed at a time.
    """

    def __init__(
        self,
        made_by: Mapping[str, Any],
        comparing: Comparing,
        trim: Trim | None,
        reader: QuestionReader,
        batch_size: int,
    ):
        self._made_by = made_by
        self._comparing = comparing
        self._trim = trim
        self._reader = reader
        self._batch_size = batch_size

    def __call__(self, folder: pathlib.Path, path: str | None) -> tuple[IndexFile, dict[str, str]]:
        """Encodes the images of a folder that an index does not hold yet.

        Args:
            folder: The folder.
            path: File of the index, which is read if it exists, and written while images are encoded and at the end;
                None keeps none.

        Returns:
            The index, and why images could not be read, by their names.

        Raises:
            CheckpointError: The file is no index, or another one.
            DataError: The folder holds no image that can be read, none of those that the index is of, or the index
                cannot be written.
        """
        files = files_of(folder)
        rows, earlier = self._earlier(folder, files, path)
        missing = [file for file in files if file not in rows]
        unreadable: dict[str, str] = {}
        saved = time.monotonic()
        size = min(self._batch_size, len(missing))
        with ProgressLine("encoding", len(files), "images", done=len(rows)) as progress:
            for some in batched(missing, max(size, 1)):
                rows |= self._encode(folder, some, size, unreadable)
                progress.advance(len(some))
                if path is not None and rows and time.monotonic() - saved > SAVE_SECONDS:
                    IndexFile.of(self._made_by, rows).write(path)
                    saved = time.monotonic()
        if not rows:
            name, why = next(iter(unreadable.items()))
            raise DataError(f"none of the {len(files)} images of '{folder}' can be read; '{name}': {why}")
        content = IndexFile.of(self._made_by, rows)
        if path is not None and content.images != earlier:
            content.write(path)
        return content, unreadable

    def _earlier(
        self, folder: pathlib.Path, files: Sequence[ImageFile], path: str | None
    ) -> tuple[dict[ImageFile, np.ndarray], tuple[ImageFile, ...]]:
        """Features of those images that an earlier index holds, and all images that it holds."""
        if path is None:
            return {}, ()
        check_index_name(path)
        if not pathlib.Path(path).exists():
            return {}, ()
        index = IndexFile.read(path, self._made_by)
        names = {image.name for image in index.images}
        if names and names.isdisjoint(file.name for file in files):
            raise DataError(
                f"'{path}' is the index of another folder: it holds none of the images of '{folder}'; choose another "
                "--index, or remove it"
            )
        present = set(files)
        return {image: row for image, row in index.rows.items() if image in present}, index.images

    def _encode(
        self, folder: pathlib.Path, files: Sequence[ImageFile], size: int, unreadable: dict[str, str]
    ) -> dict[ImageFile, np.ndarray]:
        """Features of those images that can be read; the others are added to `unreadable`, and named."""
        readable = []
        pixels = []
        for file in files:
            try:
                pixels.append(self._reader.pixels([folder / file.name]))
            except DataError as error:
                unreadable[file.name] = str(error)
                print(f"error: {error}", file=sys.stderr)
            else:
                readable.append(file)
        if not readable:
            return {}
        return dict(zip(readable, self._comparing.encode_images(pixels, size, self._trim).features, strict=False))
