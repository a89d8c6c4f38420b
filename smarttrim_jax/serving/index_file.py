"""The image files of a folder, and the file that keeps their features: an index.

An index is a safetensors file: `features`, float32 `[images, features]`, and beside it their SHA-256 (`digest`), and
as JSON what they were made by (`made_by`) and the name, size and time of change of each image (`images`). Like every
file of this library it is data alone, and it appears as a whole or not at all.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from jaxtyping import Float32

from smarttrim_jax.data.images import IMAGE_SUFFIXES
from smarttrim_jax.errors import CheckpointError, DataError, quoted, reason
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.pretrained.files import SAFETENSORS, read_metadata, read_weights
from smarttrim_jax.small_files import write_whole

OTHERWISE = "choose another --index, or remove it"


class ImageFile(NamedTuple):
    """A file as it was when it was read; it counts as unchanged as long as all of these are the same.

    Attributes:
        name: Name in its folder.
        size: Size in bytes.
        changed: When it was changed, in nanoseconds since 1970.
    """

    name: str
    size: int
    changed: int


def images_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the images of a folder by name; the number of other files is reported on standard error.

    Args:
        folder: The folder; folders inside it are not searched.

    Returns:
        Paths of the images, sorted by name.

    Raises:
        DataError: There is no such folder, or there are no images.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise DataError(f"cannot read folder '{folder}': {reason(error)}; give a folder of images") from None
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"'{folder}' holds no image; read are {', '.join(sorted(IMAGE_SUFFIXES))}")
    if len(images) < len(files):
        print(f"'{folder}': {len(files) - len(images)} files that are no images are left out", file=sys.stderr)
    return images


def files_of(folder: pathlib.Path) -> list[ImageFile]:
    """Lists the images of a folder with what tells whether they have changed.

    Args:
        folder: The folder.

    Returns:
        The images, sorted by name.

    Raises:
        DataError: There is no such folder, or there are no images.
    """
    known = ((path.name, path.stat()) for path in images_of(folder))
    return [ImageFile(name, about.st_size, about.st_mtime_ns) for name, about in known]


@dataclasses.dataclass(frozen=True)
class IndexFile:
    """The content of an index.

    Attributes:
        made_by: What the features depend on, by name: the model, its speed-up, how it reads images; and their number
            (`features`).
        images: The images.
        features: Their features, each of length 1, `[images, features]`.
    """

    made_by: Mapping[str, Any]
    images: tuple[ImageFile, ...]
    features: Float32[np.ndarray, "images features"]

    @classmethod
    def of(cls, made_by: Mapping[str, Any], rows: Mapping[ImageFile, np.ndarray]) -> "IndexFile":
        """Gathers the features of images.

        Args:
            made_by: What they depend on.
            rows: Features `[features]` of each image; at least one.

        Returns:
            The content, sorted by the images' names.
        """
        images = tuple(sorted(rows))
        return cls(made_by, images, np.stack([rows[image] for image in images]))

    @property
    def rows(self) -> dict[ImageFile, np.ndarray]:
        """Features `[features]` of each image."""
        return dict(zip(self.images, self.features, strict=True))

    def write(self, path: str) -> None:
        """Writes the index as a whole.

        Args:
            path: File to write, which ends in `.safetensors`; an earlier index is replaced.

        Raises:
            DataError: The file cannot be written.
        """
        about = {"made_by": json.dumps(dict(self.made_by)), "images": json.dumps(self.images)}
        about["digest"] = _digest(self.features)
        try:
            write_whole(path, safetensors.numpy.save({"features": self.features}, about))
        except OSError as error:
            raise DataError(f"cannot write '{path}': {reason(error)}; choose another --index") from None

    @classmethod
    def read(cls, path: str, made_by: Mapping[str, Any]) -> "IndexFile":
        """Reads an index.

        Args:
            path: File that `write` wrote.
            made_by: What the features must depend on; its `features` is their number.

        Returns:
            The content.

        Raises:
            CheckpointError: The file is damaged, no index, or was made by something else.
        """
        try:
            about = read_metadata(path)
            theirs, images = parse_json(about["made_by"]), _images(parse_json(about["images"]))
            features = read_weights(path)["features"]
            if not isinstance(theirs, dict) or features.shape != (len(images), theirs["features"]):
                raise ValueError(f"its features are {list(features.shape)}")
            if about["digest"] != _digest(features):
                raise ValueError("its features were changed since they were written")
        except CheckpointError:
            raise CheckpointError(f"'{path}' is no index, or damaged; {OTHERWISE}") from None
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"'{path}' is no index, or damaged ({reason(error)}); {OTHERWISE}") from None
        for key, ours in made_by.items():
            other = theirs.get(key)
            if other != ours:
                raise CheckpointError(
                    f"'{path}' is an index of another {key}: {quoted(other)}, not {quoted(ours)}; {OTHERWISE}"
                )
        return cls(made_by, images, features)


def check_index_name(path: str) -> None:
    """Checks the name of an index before anything is computed for it.

    Args:
        path: The file.

    Raises:
        DataError: It has another suffix, or its folder does not exist.
    """
    file = pathlib.Path(path)
    if file.suffix != SAFETENSORS:
        raise DataError(f"the index '{path}' must end in {SAFETENSORS}; choose another --index")
    if not file.parent.is_dir():
        raise DataError(f"the folder of the index '{path}' is missing; make it, or choose another --index")


def _digest(features: Float32[np.ndarray, "images features"]) -> str:
    """The SHA-256 of the features in hexadecimal."""
    return hashlib.sha256(features.tobytes()).hexdigest()


def _images(entries: Iterable[Any]) -> tuple[ImageFile, ...]:
    """Reads the list of images.

    Raises:
        ValueError: It is no list of distinct names with two numbers each.
    """
    images = tuple(ImageFile(*entry) for entry in entries)
    for image in images:
        if not isinstance(image.name, str) or not isinstance(image.size, int) or not isinstance(image.changed, int):
            raise ValueError(f"{quoted(image)} is no image")
    if len({image.name for image in images}) < len(images):
        raise ValueError("it names an image twice")
    return images
