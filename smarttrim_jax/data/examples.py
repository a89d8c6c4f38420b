"""One example as the model takes it: decoded, resized, tokenized."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from smarttrim_jax.data.augment import clip_randaug
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.images import decode, grouped, side_by_side, to_array
from smarttrim_jax.errors import DataError

# Bytes of decoded images that are kept; small sets fit whole, and each image is decoded once.
MEMORY = 1 << 30

Example = dict[str, Any]


class Examples:
    """Random access to the examples of a split."""

    def __init__(self, dataset: Dataset, split: str, config: DataConfig) -> None:
        self._records = dataset.records(split)
        self._text = dataset.text
        self._config, self._prompt = config, f"{config.prompt} " if config.prompt else ""
        self._decoded: dict[tuple[bytes, ...], np.ndarray] = {}

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
        pictures = grouped(list(record["images"]), self._config.images)
        if augment is None:
            images = [self._picture(parts, name) for parts in pictures]
        else:
            images = [self._augmented(parts, name, augment) for parts in pictures]
        try:
            ids, mask = self._text.encode(self._prompt + record["text"].decode())
        except DataError as error:
            raise DataError(f"example '{name}': {error}") from error
        return {
            "image": np.stack(images),
            "text_ids": ids,
            "text_mask": mask,
            "label": np.int32(record["answer"]),
            "weight": np.float32(1),
        }

    def _picture(self, parts: list[bytes], name: str) -> np.ndarray:
        image = self._decoded.get(tuple(parts))
        if image is None:
            image = self._array(_joined(parts, name))
            if (len(self._decoded) + 1) * image.nbytes <= MEMORY:
                self._decoded[tuple(parts)] = image
        return image

    def _augmented(self, parts: list[bytes], name: str, generator: np.random.Generator) -> np.ndarray:
        return self._array(clip_randaug(_joined(parts, name), generator))

    def _array(self, image: Image.Image) -> np.ndarray:
        return to_array(image, self._config.image_size, self._config.resize)


def _joined(parts: list[bytes], name: str) -> Image.Image:
    return side_by_side([decode(data, name) for data in parts])


def collate(examples: Sequence[Example]) -> Example:
    """A batch: the arrays of the examples stacked along a new first axis."""
    return {key: np.stack([example[key] for example in examples]) for key in examples[0]}
