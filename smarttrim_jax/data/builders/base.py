"""The contract of a data set: the class that gives its records, of this library or a user's own."""

import abc
import contextlib
import dataclasses
import functools
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from smarttrim_jax.configuration import Settings, to_dict
from smarttrim_jax.data.builders.raw_files import Reader, is_archive, open_source
from smarttrim_jax.data.faults import Faults
from smarttrim_jax.data.schema import Image, Record
from smarttrim_jax.data.submissions import SubmissionFormat
from smarttrim_jax.errors import DataError, SmartTrimError, reason
from smarttrim_jax.options import read_options
from smarttrim_jax.small_files import in_bucket


@dataclasses.dataclass(frozen=True)
class NoOptions(Settings):
    """Options of a data set that has none."""


class DatasetBuilder(abc.ABC):
    """Base of all data sets; a subclass gives the records of every split, and nothing else is asked of it.

        class Pets(DatasetBuilder):
            def records(self, split):
                folder = pathlib.Path(self.source) / split
                for row in json.loads((folder / "pets.json").read_text()):
                    yield Record(row["name"], [folder / row["file"]], "which animal is this?", answer=row["animal"])

    Named by `--config.data.dataset=package.module:Pets`, or registered in `smarttrim_jax.data.DATASETS`.

    Records are asked for more than once: at first to check all of them, then to write them where they are read from
    in training. What is written is kept, and found again by the data set's name, `version` and `contents`.

    Args:
        source: `data.source` of the configuration: where the raw files are.
        workspace: Folder for temporary files; by default the system's.
        options: `data.options` of the configuration: fields of `Options` as `name=value,name=value`.

    Attributes:
        version: To be raised where the same source gives other records than before, as "1.0.1".
        roots: Files and folders at the root of the raw data, where `read` and `image` are used.
        Options: What may be chosen of the data set: a frozen dataclass derived from `Settings`, all of whose fields
            have defaults.
        submission: The file in which the benchmark takes results, as `staticmethod(submissions.vqa_results)`; None
            where it takes none.
        source: As given.
        options: The choices.

    Raises:
        ConfigError: An option is unknown or has a value that is not accepted.
    """

    version = "1.0.0"
    roots: tuple[str, ...] = ()
    Options: ClassVar[type[Settings]] = NoOptions
    submission: ClassVar[SubmissionFormat | None] = None

    def __init__(self, source: str = "", workspace: str | None = None, options: str = "") -> None:
        self.source = source
        self.options: Any = read_options(self.Options, options, "data.options")
        self._workspace = workspace
        self._faults = Faults()

    @abc.abstractmethod
    def records(self, split: str) -> Iterable[Record]:
        """Gives the records of a split, one after the other.

        Args:
            split: "train", "calibration" (held-out training examples, on which the speed dial is measured) or "test".

        Returns:
            Records, all of one kind and with the same number of images; the same at every call.
        """

    def answers(self) -> Sequence[str] | None:
        """Names the answers in the order of their numbers; None takes those of the train split, sorted."""
        return None

    def contents(self) -> str:
        """Returns a digest of the source, so that a changed source is prepared anew; "" for none."""
        return ""

    def faults(self) -> Faults:
        """Returns faults of the source that its records do not show; giving records may add to them."""
        return self._faults

    @property
    def variant(self) -> str:
        """Names what is not the default of the options and contents: the folder of this data, "" for none."""
        defaults = to_dict(self.Options())
        chosen = {name: value for name, value in to_dict(self.options).items() if value != defaults[name]}
        return ",".join([*filter(None, [self.contents()]), *(f"{name}={value}" for name, value in chosen.items())])

    @property
    def source_name(self) -> str:
        """Names the source: by its whole path if it is on this machine, else as it was given; "" for none."""
        path = os.path.expanduser(self.source)
        return os.path.realpath(path) if self.source and os.path.exists(path) else self.source.rstrip("/")

    @property
    def may_exist(self) -> bool:
        """Whether there is such a source, as far as that can be told without reaching into a bucket."""
        return in_bucket(self.source) or os.path.exists(self.source_name)

    def image(self, path: str) -> Image:
        """Finds an image of a record in the source.

        Args:
            path: Path of its file below the root.

        Returns:
            The path on the disk or in the bucket, where the file is read later and alone; contents of a file in an
            archive.
        """
        if not self._is_archive:
            return os.path.join(os.path.expanduser(self.source), path)
        return self.read(path) or path

    @functools.cached_property
    def _is_archive(self) -> bool:
        return is_archive(self.source, self.roots)

    @functools.cached_property
    def read(self) -> Reader:
        """Function that reads a raw file by its path below the root, from a folder, an archive or a bucket."""
        return open_source(self.source, self.roots, self._workspace)


@contextlib.contextmanager
def faults_of_code(name: str) -> Iterator[None]:
    """Context that converts exceptions of a builder's code to a sentence that names the line.

    Args:
        name: Name of the data set.

    Yields:
        Nothing.

    Raises:
        DataError: The code raised an exception that is not one of this library's errors.
    """
    try:
        yield
    except SmartTrimError:
        raise
    except Exception as error:  # A user's code may raise any type.
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise DataError(
            f"the data set {name} gives no records: {type(error).__name__}: {reason(error)} ('{last.filename}', line "
            f"{last.lineno}); check data.source, or mend the class"
        ) from error


def records_of(builder: DatasetBuilder, name: str, split: str) -> Iterator[Record]:
    """Yields the records of a split; exceptions of the builder's code become sentences.

    Args:
        builder: Builder of the data set.
        name: Name of the data set.
        split: Name of the split: train, calibration or test.

    Yields:
        The records.

    Raises:
        DataError: The builder's code failed; see `faults_of_code`.
    """
    with faults_of_code(name):
        yield from builder.records(split)
