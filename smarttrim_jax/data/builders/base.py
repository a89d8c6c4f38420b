"""What every question-and-answer data set shares: one record format, raw files from a local source."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from smarttrim_jax.errors import DataError

Record = dict[str, Any]
Examples = Iterator[tuple[str, Record]]


class Encoded(tfds.decode.SkipDecoding):
    """Reads a sequence of images as their encoded bytes; TFDS can skip decoding of single images only."""

    def decode_batch_example_np(self, example: Any) -> Any:
        return example


class AnswerBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base of the builders whose examples are images, a sentence and one answer; nothing is downloaded.

    Subclasses yield records with `id`, `images` (one or several, encoded bytes or paths), `text`, `answer`.
    """

    # Found by TFDS through importlib_resources, a package it no longer depends on; needed for checksums only.
    code_path = None

    def __init__(self, *, source: str = "", **kwargs: Any) -> None:
        """Makes the builder.

        Args:
            source: where the raw files are; what it may be is up to the data set.
            **kwargs: those of `tfds.core.GeneratorBasedBuilder`: `data_dir`, `file_format`.
        """
        self.source = source
        super().__init__(**kwargs)

    def describe(self, answers: Sequence[str], homepage: str, license: str) -> tfds.core.DatasetInfo:
        """The data set's info; `answers` are the names of the classes in the order of their numbers."""
        features = tfds.features.FeaturesDict(
            {
                "id": tfds.features.Text(),
                "images": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
                "text": tfds.features.Text(),
                "answer": tfds.features.ClassLabel(names=list(answers)),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, homepage=homepage, license=license)

    def _generate_examples(self, split: str, examples: Examples) -> Examples:
        example = None
        for example in examples:
            yield example
        if example is None:
            raise DataError(f"the source of {self.name} leaves no example for the split '{split}'; give all of it")
