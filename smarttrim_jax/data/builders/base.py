"""The contract of a data set: what a class of this library, or of a user's own, says about its records."""

import abc
import contextlib
import functools
import traceback
from collections.abc import Iterable, Iterator, Sequence

from smarttrim_jax.data.builders.raw_files import Reader, open_source
from smarttrim_jax.data.faults import Faults
from smarttrim_jax.data.schema import Record
from smarttrim_jax.errors import DataError, SmartTrimError, reason


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

    Attributes:
        version: To be raised where the same source gives other records than before, as "1.0.1".
        roots: Files and folders at the root of the raw data, where `read` is used.
        source: As given.
    """

    version = "1.0.0"
    roots: tuple[str, ...] = ()

    def __init__(self, source: str = "", workspace: str | None = None) -> None:
        self.source = source
        self._workspace = workspace

    @abc.abstractmethod
    def records(self, split: str) -> Iterable[Record]:
        """The records of a split, made as they are asked for.

        Args:
            split: "train", "calibration" (held-out training examples, on which the speed dial is measured) or "test".

        Returns:
            Records, all of one kind and with the same number of images, the same at every call.
        """

    def answers(self) -> Sequence[str] | None:
        """The names of the answers in the order of their numbers; None takes those of the train split, sorted."""
        return None

    def contents(self) -> str:
        """A digest of what the records are made of, where a changed source shall be prepared anew; "" for none."""
        return ""

    def faults(self) -> Faults:
        """What is wrong with the source beyond what its records show."""
        return Faults()

    @functools.cached_property
    def read(self) -> Reader:
        """Reads a raw file by its path below the root, from a folder, an archive or a bucket."""
        return open_source(self.source, self.roots, self._workspace)


@contextlib.contextmanager
def faults_of_code(name: str) -> Iterator[None]:
    """Turns what the code of a builder raises into a sentence that names its line.

    Args:
        name: Of the data set.

    Raises:
        DataError: The code raised an error that is none of this library's.
    """
    try:
        yield
    except SmartTrimError:
        raise
    except Exception as error:  # whatever a user's lines raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise DataError(
            f"the data set {name} gives no records: {type(error).__name__}: {reason(error)} ('{last.filename}', line "
            f"{last.lineno}); check data.source, or mend the class"
        ) from error


def records_of(builder: DatasetBuilder, name: str, split: str) -> Iterator[Record]:
    """The records of a split; what the builder's code raises is a sentence.

    Args:
        builder: Of the data set.
        name: Of the data set.
        split: train, calibration or test.

    Raises:
        DataError: See `faults_of_code`.
    """
    with faults_of_code(name):
        yield from builder.records(split)
