"""A prepared data set, and preparing it once."""

import contextlib
import dataclasses
import functools
import io
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds

from smarttrim_jax.data.builders.base import AnswerBuilder, Encoded
from smarttrim_jax.data.builders.easy_vqa import EasyVQA
from smarttrim_jax.data.builders.easy_vqa_captions import EasyVQACaptions
from smarttrim_jax.data.builders.nlvr import NLVR
from smarttrim_jax.data.config import DataConfig, DatasetName
from smarttrim_jax.data.language import Language
from smarttrim_jax.data.text import FILE_NAME, TextEncoder
from smarttrim_jax.errors import DataError

# A further data set is one more builder here and its name in DatasetName.
BUILDERS: Mapping[DatasetName, type[AnswerBuilder]] = {
    "easy_vqa": EasyVQA,
    "easy_vqa_captions": EasyVQACaptions,
    "nlvr": NLVR,
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set on disk and its tokenizer.

    Attributes:
        builder: reads the records.
        text: encodes the sentences.
        answer_names: the classes in the order of their numbers.
        split_sizes: examples by split: train, calibration, test.
        num_images: images of every example.
    """

    builder: tfds.core.DatasetBuilder
    text: TextEncoder

    @functools.cached_property
    def answer_names(self) -> tuple[str, ...]:
        return tuple(self.builder.info.features["answer"].names)

    @property
    def language(self) -> Language:
        """The words of its texts and its answers."""
        return Language(self.text, self.answer_names)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Placeholder until the data branch is merged."""
        return "0"

    @property
    def num_answers(self) -> int:
        """Classes of the answer."""
        return len(self.answer_names)

    @functools.cached_property
    def split_sizes(self) -> dict[str, int]:
        return {name: split.num_examples for name, split in self.builder.info.splits.items()}

    @functools.cached_property
    def num_images(self) -> int:
        return len(self.records("train")[0]["images"])

    def records(self, split: str) -> Any:
        """The records of a split by index: `id`, `text` (bytes), `images` (encoded), `answer` (number).

        Raises:
            DataError: no such split.
        """
        if split not in self.split_sizes:
            known = ", ".join(self.split_sizes)
            raise DataError(f"{self.builder.name} has no split '{split}'; it has {known}")
        return _read(self.builder, split)


def prepare(config: DataConfig) -> Dataset:
    """Opens a data set; the first time it is prepared from its source, which one line on stdout announces.

    A preparation that was interrupted, or that another process does at the same time, does no harm.

    Raises:
        DataError: the source or the vocabulary is missing or damaged, or the disk cannot be written.
    """
    builder = _prepared_builder(config)
    if config.tokenizer != "trained":
        return Dataset(builder, TextEncoder.load(config.tokenizer, config.text_length, config.start))
    path = pathlib.Path(builder.data_dir) / FILE_NAME
    if not path.exists():
        sentences = {record["text"].decode() for record in _read(builder, "train")}
        with _disk_errors(config):
            TextEncoder.train(sentences, config.text_length).save(path)
    return Dataset(builder, TextEncoder.load(path, config.text_length, config.start))


def _prepared_builder(config: DataConfig) -> tfds.core.DatasetBuilder:
    cls = BUILDERS[config.dataset]
    root = pathlib.Path(config.data_dir).expanduser()
    # TFDS writes elsewhere and renames at the end: where this folder is, it is whole.
    folder = root / cls.name / str(cls.VERSION)
    with _disk_errors(config):
        if not folder.is_dir():
            print(f"preparing {config.dataset} in {root} (once)", flush=True)
            _generate(cls(source=config.source, data_dir=str(root), file_format="array_record"), folder)
        return tfds.builder_from_directory(folder)


def _generate(builder: AnswerBuilder, folder: pathlib.Path) -> None:
    tfds.disable_progress_bar()
    try:
        # TFDS says again what it does, with sizes that it does not know.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except OSError:
        # Another process may have finished first: then its folder is in the way, and is what we want.
        if not folder.is_dir():
            raise


def _read(builder: tfds.core.DatasetBuilder, split: str) -> Any:
    return builder.as_data_source(split=split, decoders={"images": Encoded()})


@contextlib.contextmanager
def _disk_errors(config: DataConfig) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot prepare {config.dataset} in '{config.data_dir}': {error}; clear it or change data_dir"
        ) from error
