"""A prepared data set, and its preparation on first use."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterator, Sequence

from smarttrim_jax.data.builders import DATASETS
from smarttrim_jax.data.builders.base import DatasetBuilder, faults_of_code
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.fingerprint import fingerprint
from smarttrim_jax.data.language import Language
from smarttrim_jax.data.prepared import PreparedFolder, Records, inside, open_prepared, prepared_from
from smarttrim_jax.data.schema import Kind
from smarttrim_jax.data.stored import Stored, texts_of
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.data.vocabularies import FILE_NAME
from smarttrim_jax.data.writing import folder_name, write
from smarttrim_jax.errors import ConfigError, DataError, SmartTrimError, quoted, reason
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.small_files import in_bucket

_log = logging.getLogger(__name__)


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

    Preparation is safe if it is interrupted, or if another process does it at the same time. With a fingerprint,
    prepared data is found by that alone, whatever its source.

    Args:
        config: Settings of the data.

    Returns:
        The prepared data set with its tokenizer.

    Raises:
        ConfigError: There is no data set of this name.
        DataError: The source or the vocabulary is missing or damaged, or the source is another than the data was
            prepared from; or the disk cannot be written.
    """
    with _disk_errors(config.dataset, config.data_dir):
        root, builder = _root_and_builder(config.dataset, config.source, config.options, config.data_dir)
        kept = root / folder_name(config.dataset)
        folders = [kept / builder.version, *sorted(kept.glob(f"*/{builder.version}"))]
    for folder in folders if config.fingerprint else ():
        with contextlib.suppress(DataError):  # A damaged folder may be that of other data.
            dataset = _with_tokenizer(_opened(folder, builder, config.dataset), config)
            if dataset.fingerprint == config.fingerprint:
                return dataset
    return _with_tokenizer(prepare_records(config.dataset, config.source, config.options, config.data_dir), config)


def prepare_records(dataset: str, source: str, options: str, data_dir: str) -> PreparedFolder:
    """Opens the records of a data set, which no tokenizer reads; prepares them on first use.

    Args:
        dataset: Name of the data set.
        source: Where its raw files are.
        options: Choices of the data set as `name=value,name=value`.
        data_dir: Folder in which prepared data is kept.

    Returns:
        The files of the prepared data set.

    Raises:
        ConfigError: There is no data set of this name, or it has no such option.
        DataError: The source is missing or damaged, or is another than the data was prepared from; or the disk
            cannot be written.
    """
    with _disk_errors(dataset, data_dir):
        root, builder = _root_and_builder(dataset, source, options, data_dir)
        with faults_of_code(dataset):
            variant = builder.variant
        folder = root / folder_name(dataset) / variant / builder.version
        # Data is written elsewhere and renamed at the end, so an existing folder is complete.
        if folder.is_dir():
            _check_source(folder, builder, dataset)
        else:
            print(f"preparing {dataset} in {root} (once)", flush=True)
            write(builder, dataset, root, folder)
    return _opened(folder, builder, dataset)


def _root_and_builder(dataset: str, source: str, options: str, data_dir: str) -> tuple[pathlib.Path, DatasetBuilder]:
    """Folder in which prepared data is kept, and the builder of a data set."""
    if in_bucket(data_dir):
        raise DataError(f"data_dir is '{data_dir}', a bucket; prepared data must be on a disk, local or shared")
    root = pathlib.Path(data_dir).expanduser()
    found = DATASETS.find(dataset)
    if not (isinstance(found, type) and issubclass(found, DatasetBuilder)):
        raise ConfigError(f"{quoted(dataset)} is no data set; make it a class derived from DatasetBuilder")
    return root, found(source, str(root), options)


def _check_source(folder: pathlib.Path, builder: DatasetBuilder, dataset: str) -> None:
    """Makes sure that prepared data is that of the source, if one is given; data with `contents` is told by them."""
    known = prepared_from(folder)
    if not builder.source_name or known in (None, builder.source_name) or builder.contents():
        return
    before = f"{dataset} in '{folder}' was prepared {f'from {quoted(known)}' if known else 'without data.source'}"
    if builder.may_exist:
        raise DataError(
            f"{before}, and data.source is {quoted(builder.source)}; leave data.source away to use what is there, or "
            "give another data_dir"
        )
    _log.warning("%s; data.source is %s, which is not there and not needed", before, quoted(builder.source))


def _opened(folder: pathlib.Path, builder: DatasetBuilder, dataset: str) -> PreparedFolder:
    return open_prepared(folder, folder_name(dataset), builder.version)


def _with_tokenizer(prepared: PreparedFolder, config: DataConfig) -> Dataset:
    """Adds the tokenizer; trains the vocabulary of a data set first if that is missing."""
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
                for text in texts_of(record)
            }
        with _disk_errors(config.dataset, config.data_dir):
            TextEncoder.train(sentences, config.text_length).save(path)
    try:
        return Dataset(prepared, TextEncoder.load(path, config.text_length, config.start))
    except DataError as error:
        raise DataError(f"{error}; delete it and run the same command again, which makes it anew") from error


@contextlib.contextmanager
def _disk_errors(dataset: str, data_dir: str) -> Iterator[None]:
    try:
        yield
    except SmartTrimError:
        raise
    # RuntimeError: no home for "~"; ValueError: a path with a zero byte.
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"cannot prepare {dataset} in {quoted(data_dir)}: {reason(error)}; clear it or change data_dir"
        ) from error
