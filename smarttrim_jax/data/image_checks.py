"""Reads and decodes the images of a data set in several threads, and keeps those without faults."""

import collections
import concurrent.futures
import os
from types import TracebackType
from typing import NamedTuple, Self

from smarttrim_jax.data.faults import Faults
from smarttrim_jax.data.image_writer import ImageSource, ImageWriter
from smarttrim_jax.data.images import MOST_BYTES, decode
from smarttrim_jax.data.schema import Image
from smarttrim_jax.errors import quoted
from smarttrim_jax.small_files import read_whole

THREADS = os.cpu_count() or 1
"""Number of threads: one per core, since Pillow decodes outside of Python's lock."""
AHEAD = 4
"""Number of images per thread that are read before the one that is written next."""


class _Read(NamedTuple):
    """Result of reading an image.

    Attributes:
        source: What the image is found by; None if it is missing.
        content: Contents of its file; None if it is written already, or has a fault.
        fault: What is wrong with it, as `Faults.add` takes it; "" for nothing.
    """

    source: ImageSource | None = None
    content: bytes | None = None
    fault: str = ""


class CheckedImages:
    """Checks images in several threads and writes those without faults, in the order in which they are added.

        with CheckedImages(writer, faults) as checked:
            checked.add("images/7.jpg", "train '7-red'")

    Args:
        writer: Writer of the images; what it has written before is not read again.
        faults: Where faults are noted.
    """

    def __init__(self, writer: ImageWriter, faults: Faults) -> None:
        self._writer = writer
        self._faults = faults
        self._threads = concurrent.futures.ThreadPoolExecutor(THREADS)
        self._running: collections.deque[tuple[Image, str, concurrent.futures.Future[_Read]]] = collections.deque()
        self._seen: set[str] = set()

    def add(self, image: Image, place: str) -> None:
        """Begins to check an image, unless it was added before; waits while many others are being checked.

        Args:
            image: Path of the image's file, or the file's contents.
            place: The record that it belongs to, in a few words.
        """
        key = ImageSource.key_of(image)
        if key in self._seen:
            return
        self._seen.add(key)
        self._running.append((image, place, self._threads.submit(self._read, image)))
        if len(self._running) > AHEAD * THREADS:
            self._take_first()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while error is None and self._running:
            self._take_first()
        self._threads.shutdown(cancel_futures=True)

    def _take_first(self) -> None:
        image, place, running = self._running.popleft()
        read = running.result()
        if read.fault:
            path = "" if isinstance(image, bytes) else f" {quoted(os.fspath(image))}"
            self._faults.add(read.fault, place + path)
        elif read.source is not None and read.content is not None:
            self._writer.add(read.source, read.content)

    def _read(self, image: Image) -> _Read:
        """Reads and decodes an image in a thread, unless it is written already."""
        try:
            source = ImageSource.of(image)
            if self._writer.number(source) is not None:
                return _Read(source)
            content = image if isinstance(image, bytes) else read_whole(image, MOST_BYTES)
            decode(content, "")
        except FileNotFoundError:
            return _Read(fault="images that are missing")
        except (OSError, ValueError):  # ValueError: a path with a zero byte. A DataError is a ValueError too.
            return _Read(fault="images that cannot be read")
        return _Read(source, content)
