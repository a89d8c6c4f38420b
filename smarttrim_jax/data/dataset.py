"""A prepared data set, and preparing it once."""

import contextlib
import dataclasses
import functools
import io
import pathlib
from collections.abc import Iterator, Mapping

import tensorflow_datasets as tfds

from smarttrim_jax.data.builders.base import AnswerBuilder
from smarttrim_jax.data.builders.easy_vqa import EasyVQA
from smarttrim_jax.data.builders.easy_vqa_captions import EasyVQACaptions
from smarttrim_jax.data.builders.nlvr import NLVR
from smarttrim_jax.data.config import DataConfig, DatasetName
from smarttrim_jax.data.fingerprint import fingerprint
from smarttrim_jax.data.language import Language
from smarttrim_jax.data.prepared import PreparedFolder, Records, inside, open_prepared
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.data.vocabularies import FILE_NAME
from smarttrim_jax.errors import DataError, SmartTrimError, quoted, reason
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.small_files import in_bucket

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
        prepared: The files of its records.
        text: Encodes the sentences.
    """

    prepared: PreparedFolder
    text: TextEncoder

    @property
    def answer_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers."""
        return self.prepared.answer_names

    @property
    def language(self) -> Language:
        """The words of its texts and its answers."""
        return Language(self.text, self.answer_names)

    @property
    def num_answers(self) -> int:
        """Classes of the answer."""
        return len(self.answer_names)

    @property
    def split_sizes(self) -> dict[str, int]:
        """Examples by split: train, calibration, test."""
        return self.prepared.split_sizes

    @functools.cached_property
    def num_images(self) -> int:
        """Images of every example."""
        return len(self.records("train")[0]["images"])

    @functools.cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, equal wherever the same source was prepared in the same way; see `fingerprint`."""
        return fingerprint(self.prepared, self.text)

    def records(self, split: str) -> Records:
        """The records of a split by index: `id`, `text` (bytes), `images` (encoded), `answer` (number).

        Raises:
            DataError: no such split.
        """
        return self.prepared.records(split)


def prepare(config: DataConfig) -> Dataset:
    """Opens a data set; the first time it is prepared from its source, which one line on stdout announces.

    A preparation that was interrupted, or that another process does at the same time, does no harm.

    Raises:
        DataError: the source or the vocabulary is missing or damaged, or the disk cannot be written.
    """
    prepared = _prepared_folder(config)
    if config.tokenizer != "trained":
        return Dataset(prepared, TextEncoder.load(config.tokenizer, config.text_length, config.start))
    path = inside(prepared.folder, FILE_NAME)
    if not path.exists():
        records = prepared.records("train")
        with ProgressLine("reading the vocabulary", total=len(records)) as progress:
            sentences = {record["text"].decode() for record in progress.over(records)}
        with _disk_errors(config):
            TextEncoder.train(sentences, config.text_length).save(path)
    try:
        return Dataset(prepared, TextEncoder.load(path, config.text_length, config.start))
    except DataError as error:
        raise DataError(f"{error}; delete it and run the same command again, which makes it anew") from error


def _prepared_folder(config: DataConfig) -> PreparedFolder:
    if in_bucket(config.data_dir):
        raise DataError(
            f"data_dir is '{config.data_dir}', a bucket; prepared data must be on a disk, local or shared"
        )
    cls = BUILDERS[config.dataset]
    with _disk_errors(config):
        root = pathlib.Path(config.data_dir).expanduser()
        # TFDS writes elsewhere and renames at the end: where this folder is, it is whole.
        folder = root / cls.name / str(cls.VERSION)
        if not folder.is_dir():
            print(f"preparing {config.dataset} in {root} (once)", flush=True)
            _generate(cls(source=config.source, data_dir=str(root), file_format="array_record"), folder)
    return open_prepared(folder, cls.name, str(cls.VERSION))


def _generate(builder: AnswerBuilder, folder: pathlib.Path) -> None:
    tfds.disable_progress_bar()
    try:
        # TFDS says again what it does, with sizes that it does not know.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.prepare()
    except OSError:
        # Another process may have finished first: then its folder is in the way, and is what we want.
        if not folder.is_dir():
            raise


@contextlib.contextmanager
def _disk_errors(config: DataConfig) -> Iterator[None]:
    try:
        yield
    except SmartTrimError:
        raise
    # RuntimeError: no home for "~"; ValueError: a path with a zero byte.
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"cannot prepare {config.dataset} in {quoted(config.data_dir)}: {reason(error)}; "
            "clear it or change data_dir"
        ) from error
