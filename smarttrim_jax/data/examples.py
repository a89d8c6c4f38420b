"""One example as the model takes it: decoded, resized, tokenized."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from smarttrim_jax.data.augment import clip_randaug
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.images import decode, to_array
from smarttrim_jax.errors import DataError

# Bytes of decoded images that are kept; small sets fit whole, and each image is decoded once.
MEMORY = 1 << 30

Example = dict[str, Any]


class Examples:
    """Random access to the examples of a split."""

    def __init__(self, dataset: Dataset, split: str, config: DataConfig) -> None:
        self._records = dataset.records(split)
        self._text = dataset.text
        self._size, self._resize = config.image_size, config.resize
        self._decoded: dict[bytes, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, index: int, augment: np.random.Generator | None = None) -> Example:
        """The example as arrays, without the batch axis.

        Args:
            index: of the record.
            augment: the chance to augment its images with, or None.

        Returns:
            image uint8 [images, size, size, 3], text_ids and text_mask int32 [text_length], label int32 [],
            weight float32 [] (1).

        Raises:
            DataError: a damaged image or an empty text; the message names the example.
        """
        record = self._records[index]
        name = record["id"].decode()
        if augment is None:
            images = [self._image(data, name) for data in record["images"]]
        else:
            images = [self._augmented(data, name, augment) for data in record["images"]]
        try:
            ids, mask = self._text.encode(record["text"].decode())
        except DataError as error:
            raise DataError(f"example '{name}': {error}") from error
        return {
            "image": np.stack(images),
            "text_ids": ids,
            "text_mask": mask,
            "label": np.int32(record["answer"]),
            "weight": np.float32(1),
        }

    def _image(self, data: bytes, name: str) -> np.ndarray:
        image = self._decoded.get(data)
        if image is None:
            image = to_array(decode(data, name), self._size, self._resize)
            if (len(self._decoded) + 1) * image.nbytes <= MEMORY:
                self._decoded[data] = image
        return image

    def _augmented(self, data: bytes, name: str, generator: np.random.Generator) -> np.ndarray:
        return to_array(clip_randaug(decode(data, name), generator), self._size, self._resize)


def collate(examples: Sequence[Example]) -> Example:
    """A batch: the arrays of the examples stacked along a new first axis."""
    return {key: np.stack([example[key] for example in examples]) for key in examples[0]}
