"""A prepared data set on disk, written by TFDS and opened with this library's own features.

TFDS would import the classes that a folder's features.json names. Nothing here follows a name found in a file: shards
are found by this library's names, and their records are read by the features that it wrote them with.
"""

import dataclasses
import functools
import itertools
import json
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from smarttrim_jax.data.image_files import INDEX, ImageFiles, record_count, shard_name
from smarttrim_jax.data.schema import KINDS, UNKNOWN, Kind
from smarttrim_jax.data.stored import Stored, record_features
from smarttrim_jax.errors import DataError, quoted, reason
from smarttrim_jax.small_files import read_json, read_whole

INFO, FEATURES, LABELS = "dataset_info.json", "features.json", "answer.labels.txt"
SOURCE = "source.txt"
"""Name of the file that tells what a folder was prepared from."""
_CLASS_KEYS = ("pythonClassName", "type")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records.

    Attributes:
        path: Path of the file.
        records: Number of its records.
    """

    path: str
    records: int


@dataclasses.dataclass(frozen=True)
class PreparedFolder:
    """The files of a prepared data set, checked to be complete.

    Attributes:
        name: Name of the data set, as its folder and files are called.
        version: Version of the builder that prepared it.
        folder: Folder of the files.
        kind: What each record has: an answer, weighted answers or references.
        answer_names: Names of the classes in the order of their numbers; empty where records have references.
        shards: Files of each split.
        images: Files of the images.
    """

    name: str
    version: str
    folder: pathlib.Path
    kind: Kind
    answer_names: tuple[str, ...]
    shards: Mapping[str, Sequence[Shard]]
    images: Sequence[Shard]

    @functools.cached_property
    def split_sizes(self) -> dict[str, int]:
        """Number of records by split."""
        return {split: sum(shard.records for shard in shards) for split, shards in self.shards.items()}

    def records(self, split: str) -> "Records":
        """Opens the records of a split.

        Args:
            split: Name of the split.

        Returns:
            Random access to the records.

        Raises:
            DataError: There is no such split.
        """
        if split not in self.shards:
            raise DataError(f"{self.name} has no split '{split}'; it has {', '.join(self.shards)}")
        return Records(self, split)


class Records(Sequence[Stored]):
    """Random access to the records of a split; see `data.stored.Stored` for their content, in which texts are bytes.

    Reading a damaged record raises a DataError that names its file.

    Args:
        prepared: Files of the data set.
        split: Name of the split.
    """

    def __init__(self, prepared: PreparedFolder, split: str) -> None:
        self._prepared = prepared
        self._split = split
        self._ends = list(itertools.accumulate(shard.records for shard in prepared.shards[split]))
        self._encoded = ArrayRecordDataSource([shard.path for shard in prepared.shards[split]])
        paths = [pathlib.Path(shard.path) for shard in prepared.images]
        self._images = ImageFiles(paths, [shard.records for shard in prepared.images], remedy(prepared.folder))
        self._features = record_features(prepared.kind, prepared.answer_names)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: SupportsIndex) -> Stored:  # type: ignore[override]
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Iterable[SupportsIndex]) -> list[Stored]:
        """Reads several records at once.

        Args:
            indices: Positions in the split.

        Returns:
            The records, in the order of `indices`.

        Raises:
            DataError: A record or an image is damaged.
            IndexError: There is no record at a position.
        """
        records = self.without_images(indices)
        contents = iter(self._images.read([number for record in records for number in record["images"]]))
        for record in records:
            record["images"] = list(itertools.islice(contents, len(record["images"])))
        return records

    def without_images(self, indices: Iterable[SupportsIndex]) -> list[Stored]:
        """Reads several records but not their images, which takes far less time.

        Args:
            indices: Positions in the split.

        Returns:
            The records, in the order of `indices`; `images` are numbers, which are the same for the same image.

        Raises:
            DataError: A record is damaged.
            IndexError: There is no record at a position.
        """
        positions = [index.__index__() for index in indices]
        for position in positions:
            if not 0 <= position < len(self):
                raise IndexError(f"record {position} of {len(self)}")
        if len(positions) < 2:
            return [self._record(position) for position in positions]
        try:
            encoded = self._encoded.__getitems__(positions)
        except Exception:  # Reading them one by one shows which is damaged.
            return [self._record(position) for position in positions]
        return [self._record(position, content) for position, content in zip(positions, encoded, strict=True)]

    def _record(self, index: int, encoded: bytes | None = None) -> Stored:
        try:
            content = self._encoded[index] if encoded is None else encoded
            record: Stored = self._features.deserialize_example_np(content)
            record["text"].decode()
            record["metadata"] = json.loads(record["metadata"])
            record["images"] = [int(number) for number in record["images"]]
            whole = isinstance(record["id"], bytes) and len(record["images"]) > 0
            if self._prepared.kind == "references":
                whole = whole and len([text.decode() for text in record["references"]]) > 0
            if self._prepared.kind == "answers":
                # TFDS returns few numbers as a list and many as an array.
                record["answers"] = np.asarray(record["answers"], np.int64)
                record["weights"] = np.asarray(record["weights"], np.float32)
                whole = whole and 0 < len(record["answers"]) == len(record["weights"])
        except Exception as error:  # array_record, protobuf and TFDS raise types that have no common base.
            raise self._damaged(index, reason(error)) from error
        if not whole:
            raise self._damaged(index, "it has no id, no image, or no answer or reference")
        if not all(0 <= number < len(self._images) for number in record["images"]):
            raise self._damaged(index, f"it has an image that is none of the {len(self._images)} in {INDEX}")
        count = len(self._prepared.answer_names)
        if not all(self._is_number(number, count) for number in _numbers(record)):
            raise self._damaged(index, f"it has an answer that is none of the {count} in {LABELS}")
        return record

    def _is_number(self, number: Any, count: int) -> bool:
        """Tells whether a number is that of an answer, or marks an unknown one where these are allowed.

        In train of a data set with one answer per record, unknown answers are not allowed.
        """
        lowest = 0 if self._prepared.kind == "answer" and self._split == "train" else UNKNOWN
        return isinstance(number, int) and lowest <= number < count

    def _damaged(self, index: int, why: str) -> DataError:
        shard = next(i for i, end in enumerate(self._ends) if index < end)
        path = self._prepared.shards[self._split][shard].path
        return DataError(f"record {index} in '{path}' is damaged: {why}; {remedy(self._prepared.folder)}")


def _numbers(record: Stored) -> list[Any]:
    """Numbers of a record's answers."""
    weighted = record["answers"].tolist() if "answers" in record else []
    return [*([record["answer"]] if "answer" in record else []), *weighted]


def remedy(folder: pathlib.Path) -> str:
    """Describes what to do about damaged prepared data, for error messages.

    Args:
        folder: Folder of the prepared data.

    Returns:
        The second half of a sentence.
    """
    return f"delete the folder '{folder}' and run the same command again, which prepares it anew"


def open_prepared(folder: pathlib.Path, name: str, version: str) -> PreparedFolder:
    """Opens a prepared data set and checks that it is complete.

    Args:
        folder: Folder of the data set's version.
        name: Name of the data set, as its folder and files are called.
        version: Expected version of the preparation.

    Returns:
        The checked files.

    Raises:
        DataError: A file is missing, truncated or damaged, does not fit the others, or was not written by this
            library.
    """
    kind, classes = _features(folder)
    answer_names = () if kind == "references" else _answer_names(folder)
    if classes != [str(len(answer_names))] * (kind != "references"):
        told = " and ".join(map(quoted, classes)) or "none"
        raise DataError(
            f"'{folder / LABELS}' names {len(answer_names)} answers, but {FEATURES} {told}; {remedy(folder)}"
        )
    info = _json(folder, INFO)
    if (info.get("name"), info.get("version")) != (name, version):
        raise DataError(f"'{folder / INFO}' is not of {name} {version}; {remedy(folder)}")
    shards = {split: tuple(_shards(folder, name, split, sizes)) for split, sizes in _splits(folder, info).items()}
    return PreparedFolder(name, version, folder, kind, answer_names, shards, tuple(_image_shards(folder)))


def prepared_from(folder: pathlib.Path) -> str | None:
    """Tells what a folder was prepared from.

    Args:
        folder: Folder of the data set's version, or of its unfinished images.

    Returns:
        The `source_name` of its builder; None where that is not known, as in folders of earlier versions.
    """
    try:
        return read_whole(folder / SOURCE).decode()
    except (OSError, ValueError):
        return None


def inside(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a file in a folder.

    Args:
        folder: The folder.
        name: Name of the file.

    Returns:
        Its path.

    Raises:
        DataError: The file is a link that leads out of the folder.
    """
    path = folder / name
    if not pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise DataError(f"'{path}' is a link that leaves its folder; {remedy(folder)}")
    return path


def _json(folder: pathlib.Path, name: str) -> dict[str, Any]:
    return read_json(inside(folder, name), remedy(folder), DataError)


def _answer_names(folder: pathlib.Path) -> tuple[str, ...]:
    path = inside(folder, LABELS)
    try:
        lines = read_whole(path).decode("utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read ({reason(error)}); {remedy(folder)}") from None
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    known: set[str] = set()
    for number, answer in enumerate(names, 1):
        if not answer or answer in known:
            raise DataError(f"line {number} of '{path}' is empty or there twice; {remedy(folder)}")
        known.add(answer)
    if not names:
        raise DataError(f"'{path}' is empty; {remedy(folder)}")
    return tuple(names)


def _features(folder: pathlib.Path) -> tuple[Kind, list[str]]:
    """Reads the kind of the records, and the numbers of classes, from `features.json`.

    Features that this library does not write are refused; they are compared, never loaded.
    """
    found = _json(folder, FEATURES)
    own = {kind: record_features(kind, ["answer"]) for kind in KINDS}
    classes = {name for features in own.values() for name in _values(features.to_json(), _CLASS_KEYS)}
    for foreign in (name for name in _values(found, _CLASS_KEYS) if name not in classes):
        raise DataError(
            f"'{folder / FEATURES}' names the class {quoted(foreign)}, which is not loaded; {remedy(folder)}"
        )
    try:
        names = set(found["featuresDict"]["features"])
    except (LookupError, TypeError):
        names = set()
    kinds = [kind for kind in KINDS if set(own[kind]) == names]
    if not kinds:
        raise DataError(f"'{folder / FEATURES}' is not of records that this library writes; {remedy(folder)}")
    return kinds[0], [str(count) for count in _values(found, ("numClasses",))]


def _values(tree: Any, keys: Sequence[str]) -> Iterator[Any]:
    """Yields values under any of `keys` anywhere in a JSON tree, unless they are trees themselves."""
    left = [tree]
    while left:
        node = left.pop()
        items: Iterable[tuple[Any, Any]] = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            if isinstance(value, (dict, list)):
                left.append(value)
            elif key in keys:
                yield value


def _splits(folder: pathlib.Path, info: dict[str, Any]) -> dict[str, list[int]]:
    """Number of records of each file, by split."""
    try:
        splits = {split["name"]: [int(length) for length in split["shardLengths"]] for split in info["splits"]}
    except (LookupError, TypeError, ValueError):
        splits = {}
    if "train" not in splits or not all(split.isidentifier() and sizes for split, sizes in splits.items()):
        raise DataError(f"'{folder / INFO}' is damaged (its splits cannot be read); {remedy(folder)}")
    return splits


def _shards(folder: pathlib.Path, name: str, split: str, sizes: Sequence[int]) -> Iterator[Shard]:
    for number, size in enumerate(sizes):
        yield _shard(folder, f"{name}-{split}.array_record-{number:05}-of-{len(sizes):05}", size)


def _image_shards(folder: pathlib.Path) -> Iterator[Shard]:
    sizes = _json(folder, INDEX).get("images")
    if not (isinstance(sizes, list) and sizes and all(type(size) is int and size > 0 for size in sizes)):
        raise DataError(f"'{folder / INDEX}' is damaged (it holds no list of counts); {remedy(folder)}")
    for number, size in enumerate(sizes):
        yield _shard(folder, shard_name(number), size)


def _shard(folder: pathlib.Path, name: str, size: int) -> Shard:
    """Checks that a file exists, is whole and holds as many records as it should."""
    path = inside(folder, name)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError("it is no regular file")
        found = record_count(path)
        if found != size:
            raise DataError(f"it holds {found} records instead of {size}")
    except Exception as error:  # array_record raises RuntimeError and exceptions of other types.
        raise DataError(f"'{path}' cannot be read ({reason(error)}); {remedy(folder)}") from None
    return Shard(str(path), size)
