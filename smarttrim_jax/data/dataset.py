"""A prepared data set, and its preparation on first use."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

from smarttrim_jax.data.builders import DATASETS
from smarttrim_jax.data.builders.base import DatasetBuilder, faults_of_code
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.fingerprint import fingerprint
from smarttrim_jax.data.language import Language
from smarttrim_jax.data.prepared import PreparedFolder, Records, inside, open_prepared
from smarttrim_jax.data.schema import Kind
from smarttrim_jax.data.stored import Stored
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.data.vocabularies import FILE_NAME
from smarttrim_jax.data.writing import folder_name, write
from smarttrim_jax.errors import ConfigError, DataError, SmartTrimError, quoted, reason
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.small_files import in_bucket


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set on disk and its tokenizer.

    Attributes:
        prepared: Files of the records.
        text: Tokenizer that encodes sentences.
    """

    prepared: PreparedFolder
    text: TextEncoder

    @property
    def kind(self) -> Kind:
        """What each record has: an answer, weighted answers or references."""
        return self.prepared.kind

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers; empty where records have references."""
        return self.prepared.answer_names

    @property
    def language(self) -> Language:
        """Tokenizer and names of the answers."""
        return Language(self.text, self.answer_names)

    @property
    def num_answers(self) -> int:
        """Number of classes."""
        return len(self.answer_names)

    @property
    def split_sizes(self) -> dict[str, int]:
        """Number of examples by split: train, calibration, test."""
        return self.prepared.split_sizes

    @functools.cached_property
    def num_images(self) -> int:
        """Number of images of every example."""
        return len(self._first_record["images"])

    @functools.cached_property
    def most_answers(self) -> int:
        """Number of weighted answers of every example, fillers included; 0 for other kinds of data."""
        return len(self._first_record["answers"]) if self.kind == "answers" else 0

    @functools.cached_property
    def _first_record(self) -> Stored:
        return self.records("train").without_images([0])[0]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of 64 hexadecimal digits, equal wherever the same source was prepared alike; see `fingerprint`."""
        return fingerprint(self.prepared, self.text)

    def records(self, split: str) -> Records:
        """Opens the records of a split, addressed by the `index` of a batch.

        Args:
            split: Name of the split: train, calibration or test.

        Returns:
            Random access to the records; see `data.stored.Stored` for their content.

        Raises:
            DataError: There is no such split.
        """
        return self.prepared.records(split)

    def ids(self, split: str, indices: Sequence[int]) -> list[str]:
        """Looks up the names of records.

        Args:
            split: Name of the split: train, calibration or test.
            indices: Positions in the split, as the `index` of a batch gives them.

        Returns:
            The `id` of each record.

        Raises:
            DataError: There is no such split.
        """
        return [record["id"].decode() for record in self.records(split).without_images(indices)]


def prepare(config: DataConfig) -> Dataset:
    """Opens a data set; on first use it is prepared from its source, which one line on stdout announces.

    Preparation is safe if it is interrupted, or if another process does it at the same time. A data set that is
    stored by its contents is found again by its fingerprint alone, without its source.

    Args:
        config: Settings of the data.

    Returns:
        The prepared data set with its tokenizer.

    Raises:
        ConfigError: There is no data set of this name.
        DataError: The source or the vocabulary is missing or damaged, or the disk cannot be written.
    """
    if in_bucket(config.data_dir):
        raise DataError(
            f"data_dir is '{config.data_dir}', a bucket; prepared data must be on a disk, local or shared"
        )
    with _disk_errors(config):
        root = pathlib.Path(config.data_dir).expanduser()
        builder = _builder(config, root)
        of_contents = sorted((root / folder_name(config.dataset)).glob(f"*/{builder.version}"))
    for folder in of_contents if config.fingerprint else ():
        with contextlib.suppress(DataError):  # A damaged folder may be that of other data.
            dataset = _opened(folder, builder, config)
            if dataset.fingerprint == config.fingerprint:
                return dataset
    with _disk_errors(config):
        folder = _written(root, builder, config)
    return _opened(folder, builder, config)


def _written(root: pathlib.Path, builder: DatasetBuilder, config: DataConfig) -> pathlib.Path:
    """Returns the folder of the prepared data set; writes it first if it is missing."""
    with faults_of_code(config.dataset):
        variant = builder.variant
    folder = root / folder_name(config.dataset) / variant / builder.version
    # Data is written elsewhere and renamed at the end, so an existing folder is complete.
    if not folder.is_dir():
        print(f"preparing {config.dataset} in {root} (once)", flush=True)
        write(builder, config.dataset, root, folder)
    return folder


def _opened(folder: pathlib.Path, builder: DatasetBuilder, config: DataConfig) -> Dataset:
    """Opens the data set in a folder; trains its vocabulary first if that is missing."""
    prepared = open_prepared(folder, folder_name(config.dataset), builder.version)
    if config.tokenizer != "trained":
        return Dataset(prepared, TextEncoder.load(config.tokenizer, config.text_length, config.start))
    path = inside(prepared.folder, FILE_NAME)
    if not path.exists():
        records = prepared.records("train")
        with ProgressLine("reading the vocabulary", total=len(records)) as progress:
            sentences = {
                text
                for index in progress.over(range(len(records)))
                for record in records.without_images([index])
                for text in _texts(record)
            }
        with _disk_errors(config):
            TextEncoder.train(sentences, config.text_length).save(path)
    try:
        return Dataset(prepared, TextEncoder.load(path, config.text_length, config.start))
    except DataError as error:
        raise DataError(f"{error}; delete it and run the same command again, which makes it anew") from error


def _builder(config: DataConfig, root: pathlib.Path) -> DatasetBuilder:
    found = DATASETS.find(config.dataset)
    if not (isinstance(found, type) and issubclass(found, DatasetBuilder)):
        raise ConfigError(f"{quoted(config.dataset)} is no data set; make it a class derived from DatasetBuilder")
    return found(config.source, str(root), config.options)


def _texts(record: Stored) -> list[str]:
    """Sentences of a record: its references, or else its text."""
    return [text.decode() for text in record.get("references", [record["text"]])]


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
