"""Writes the records of a data set to disk, by TFDS and without TensorFlow."""

import contextlib
import io
import pathlib
import re
import types
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from smarttrim_jax.data.builders.base import DatasetBuilder, records_of
from smarttrim_jax.data.schema import SPLITS
from smarttrim_jax.data.stored import Stored, record_features, stored, without_unknown
from smarttrim_jax.data.survey import Survey, image_bytes, survey
from smarttrim_jax.progress import ProgressLine


def folder_name(name: str) -> str:
    """Returns what the folder and the files of a data set are called.

    Args:
        name: Name of the data set, possibly `package.module:Name`.

    Returns:
        The name with every run of other characters replaced by "_".
    """
    return re.sub(r"\W+", "_", name, flags=re.ASCII)


def write(builder: DatasetBuilder, name: str, root: pathlib.Path, folder: pathlib.Path) -> None:
    """Checks the records of a data set and writes them; the folder appears as a whole, or not at all.

    Args:
        builder: Builder of the data set.
        name: Name of the data set.
        root: Folder in which prepared data is kept.
        folder: Folder of this data set, below the root.

    Raises:
        DataError: The data set has faults.
        OSError: The disk cannot be written.
    """
    found = survey(builder, name)
    for split, count in found.unknown.items():
        share = f"{count:,} of {found.split_sizes[split]:,} answers"
        print(f"{name}: {share} in {split} are none that train has; they count as wrong", flush=True)
    writer = _writer_class(folder_name(name), builder)(builder, found, root, name)
    tfds.disable_progress_bar()
    try:
        # TFDS would print progress of its own, with sizes that it does not know.
        with contextlib.redirect_stdout(io.StringIO()), writer.progress:
            writer.download_and_prepare()
    except OSError:
        # If another process has finished first, its folder prevents the rename and is used instead.
        if not folder.is_dir():
            raise


class RecordWriter(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, call-arg]  # TFDS has no types
    """TFDS builder of a data set; `_writer_class` gives it a name, a version and a configuration.

    Args:
        builder: Builder of the data set.
        found: Result of its survey.
        root: Folder in which prepared data is kept.
        name: Name of the data set in error messages and progress lines.
    """

    # TFDS would look this up through importlib_resources, which may be missing; it is needed for checksums only.
    code_path = None

    def __init__(self, builder: DatasetBuilder, found: Survey, root: pathlib.Path, name: str) -> None:
        self._builder = builder
        self._title = name
        self._found = found
        self._numbers = {answer: number for number, answer in enumerate(found.answer_names)}
        self.progress = ProgressLine(f"preparing {name}", total=sum(found.split_sizes.values()))
        super().__init__(data_dir=str(root), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = record_features(self._found.kind, self._found.answer_names)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, Stored]]]:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, Stored]]:
        for record in self.progress.over(records_of(self._builder, self._title, split)):
            images = [image_bytes(image) for image in record.images]
            if split == "train":
                record = without_unknown(record, self._numbers)
            yield record.id, stored(record, images, self._numbers, self._found.most_answers)


def _writer_class(name: str, builder: DatasetBuilder) -> type[RecordWriter]:
    """Creates a writer class; TFDS takes the names of folders from it: `name/configuration/version`."""
    attributes: dict[str, Any] = {"name": name, "VERSION": tfds.core.Version(builder.version)}
    contents = builder.contents()
    if contents:
        attributes["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=contents)]
    return types.new_class(name, (RecordWriter,), {"skip_registration": True}, lambda body: body.update(attributes))
