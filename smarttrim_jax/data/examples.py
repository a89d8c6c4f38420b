"""One example as the model takes it: decoded, resized and tokenized."""

import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from PIL import Image

from smarttrim_jax.data.augment import augmented
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.images import decode, grouped, side_by_side, to_array
from smarttrim_jax.data.sentences import clean_text, exchange_sides
from smarttrim_jax.data.stored import Stored, texts_of
from smarttrim_jax.errors import DataError

# Bytes of decoded images that are cached. Small data sets fit as a whole, so that each image is decoded once.
MEMORY = 1 << 30

Example = dict[str, Any]
RECORD_VALUES: dict[str, Callable[[Stored], Any]] = {
    "id": lambda record: record["id"].decode(),
    "metadata": operator.itemgetter("metadata"),
    "references": texts_of,
}
"""What metrics and result files may ask of the records themselves, beside the arrays of an example, by name."""


class Examples:
    """Random access to the examples of a split.

    Args:
        dataset: Prepared data set.
        split: Name of the split: train, calibration or test.
        config: Settings of images and texts.

    Attributes:
        draws: Whether `get` uses randomness: to augment images, or to choose one of several captions or answers.

    Raises:
        DataError: There is no such split.
    """

    def __init__(self, dataset: Dataset, split: str, config: DataConfig) -> None:
        self._records = dataset.records(split)
        self._text = dataset.text
        self._config = config
        self._most_answers = dataset.most_answers
        self._augments = config.augment != "none"
        self.draws = self._augments or dataset.kind != "answer"
        self._decoded: dict[tuple[bytes, ...], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, index: int, chance: np.random.Generator | None = None) -> Example:
        """Loads an example as arrays, without the batch axis.

        Args:
            index: Position of the record in its split.
            chance: Random generator of augmentation and of the choice among several captions or weighted answers, for
                training. None leaves images as they are and takes the first caption and the heaviest answer.

        Returns:
            `image` uint8 `[images, size, size, 3]`; `text_ids` and `text_mask` int32 `[text_length]`; `label` int32,
            `weight` float32 (1) and `index` int32, all scalars. With weighted answers also `answer_ids` int32
            `[most_answers]` and `answer_weights` float32 `[most_answers]`; see `pipeline.train_iterator`.

        Raises:
            DataError: An image is damaged, the text is empty, or there are not two images to swap; the message names
                the example.
        """
        record = self._records[index]
        name = record["id"].decode()
        files = list(record["images"])
        swap = chance is not None and self._config.augment == "blip_nlvr2" and _draw_swap(files, name, chance)
        pictures = grouped(files[::-1] if swap else files, self._config.images)
        if chance is None or not self._augments:
            images = [self._picture(parts, name) for parts in pictures]
        else:
            images = [self._augmented(parts, name, chance) for parts in pictures]
        text = record["text"]
        if chance is not None and "references" in record:
            text = record["references"][chance.integers(len(record["references"]))]
        said = exchange_sides(text.decode()) if swap else text.decode()
        config = self._config
        sentence, _ = clean_text(said, config.text_cleaning, config.max_words, config.prompt)
        try:
            ids, mask = self._text.encode(sentence)
        except DataError as error:
            raise DataError(f"example '{name}': {error}") from error
        example = {
            "image": np.stack(images),
            "text_ids": ids,
            "text_mask": mask,
            "label": np.int32(_label(record, index, chance)),
            "weight": np.float32(1),
            "index": np.int32(index),
        }
        return example | self._weighted_answers(record, name)

    def record_values(self, indices: Sequence[int], names: Collection[str]) -> dict[str, list[Any]]:
        """Reads values of records that no model sees.

        Args:
            indices: Positions in the split.
            names: Names of the values; those that are none of `RECORD_VALUES` are left out.

        Returns:
            By name, a list with the value of every record: its `id`, its `metadata`, or its `references`: all of
            them, or its text where it has none.
        """
        wanted = {name: value for name, value in RECORD_VALUES.items() if name in names}
        records = self._records.without_images(indices) if wanted else []
        return {name: list(map(value, records)) for name, value in wanted.items()}

    def _weighted_answers(self, record: Stored, name: str) -> Example:
        if "answers" not in record:
            return {}
        if len(record["answers"]) != self._most_answers:
            raise DataError(
                f"example '{name}' has {len(record['answers'])} answers where the first has {self._most_answers}; "
                "delete the prepared data and start again"
            )
        return {
            "answer_ids": record["answers"].astype(np.int32),
            "answer_weights": record["weights"].astype(np.float32),
        }

    def _picture(self, parts: list[bytes], name: str) -> np.ndarray:
        image = self._decoded.get(tuple(parts))
        if image is None:
            image = self._array(_joined(parts, name))
            if (len(self._decoded) + 1) * image.nbytes <= MEMORY:
                self._decoded[tuple(parts)] = image
        return image

    def _augmented(self, parts: list[bytes], name: str, generator: np.random.Generator) -> np.ndarray:
        config = self._config
        return self._array(augmented(_joined(parts, name), config.augment, config.image_size, generator))

    def _array(self, image: Image.Image) -> np.ndarray:
        array = to_array(image, self._config.image_size, self._config.resize)
        return np.full_like(array, 255) if self._config.blind else array


def _label(record: Stored, index: int, chance: np.random.Generator | None) -> int:
    """The number of the answer; with weights, of one that is drawn by them for training, else of the heaviest."""
    if "answer" not in record:
        return index  # References belong to their own images only.
    if chance is None or "answers" not in record:
        return int(record["answer"])
    weights = record["weights"].astype(np.float64)
    return int(chance.choice(record["answers"], p=weights / weights.sum()))


def _draw_swap(images: list[bytes], name: str, chance: np.random.Generator) -> bool:
    """Decides whether the two images of an example are swapped, with probability .5."""
    if len(images) != 2:
        raise DataError(
            "data.augment is 'blip_nlvr2', which swaps the two images of an example, "
            f"but '{name}' has {len(images)}; take 'blip'"
        )
    return chance.random() < 0.5


def _joined(parts: list[bytes], name: str) -> Image.Image:
    return side_by_side([decode(data, name) for data in parts])


def collate(examples: Sequence[Example]) -> Example:
    """Stacks examples to a batch.

    Args:
        examples: Examples with the same names and shapes.

    Returns:
        The arrays with a new first axis of examples.
    """
    return {key: np.stack([example[key] for example in examples]) for key in examples[0]}
