"""Writes the records of a data set to disk, by TFDS and without TensorFlow."""

import contextlib
import fcntl
import io
import os
import pathlib
import re
import shutil
import tempfile
import types
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from smarttrim_jax.data.builders.base import DatasetBuilder, records_of
from smarttrim_jax.data.image_writer import ImageWriter
from smarttrim_jax.data.prepared import SOURCE, prepared_from
from smarttrim_jax.data.schema import SPLITS
from smarttrim_jax.data.stored import Stored, record_features, stored, without_unknown
from smarttrim_jax.data.survey import Survey, survey
from smarttrim_jax.progress import ProgressLine, waiting
from smarttrim_jax.small_files import write_whole


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

    Images are written first, beside the folder. They stay there if this is interrupted or if there are faults, and
    the next start goes on from them. Of several processes that share a disk, the first does all of this, and the
    others wait for it.

    Args:
        builder: Builder of the data set.
        name: Name of the data set.
        root: Folder in which prepared data is kept.
        folder: Folder of this data set, below the root.

    Raises:
        DataError: The data set has faults.
        OSError: The disk cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent, name) as is_alone, contextlib.ExitStack() as cleaning:
        if folder.is_dir():
            return
        images_folder = folder.with_name(f"{folder.name}.unfinished")
        if not is_alone:  # Another process may go on from the same images.
            images_folder = pathlib.Path(cleaning.enter_context(tempfile.TemporaryDirectory(dir=folder.parent)))
        if builder.may_exist and prepared_from(images_folder) != builder.source_name:
            # Images of another source would stay in the data set, though unused.
            shutil.rmtree(images_folder, ignore_errors=True)
        images = ImageWriter(images_folder)
        if prepared_from(images_folder) is None:
            write_whole(images_folder / SOURCE, builder.source_name)
        try:
            _write_records(builder, survey(builder, name, images), images, root, name)
        except OSError:
            # If another process has finished first, its folder prevents the rename and is used instead.
            if not folder.is_dir():
                raise
        shutil.rmtree(images_folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: pathlib.Path, name: str) -> Iterator[bool]:
    """Context in which no other process prepares data in a folder; False where the file system has no locks."""
    opened = os.open(folder, os.O_RDONLY)
    is_alone = True
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting(f"waiting for another process, which is preparing {name}"):
                fcntl.flock(opened, fcntl.LOCK_EX)
        except OSError:
            is_alone = False
        yield is_alone
    finally:
        os.close(opened)


def _write_records(
    builder: DatasetBuilder, found: Survey, images: ImageWriter, root: pathlib.Path, name: str
) -> None:
    """Writes the folder: the records, and the images that are written already."""
    for split, count in found.unknown.items():
        share = f"{count:,} of {found.split_sizes[split]:,} answers"
        print(f"{name}: {share} in {split} are none that train has; they count as wrong", flush=True)
    writer = _writer_class(folder_name(name), builder)(builder, found, images, root, name)
    tfds.disable_progress_bar()
    # TFDS would print progress of its own, with sizes that it does not know.
    with contextlib.redirect_stdout(io.StringIO()), writer.progress:
        writer.download_and_prepare()


class RecordWriter(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, call-arg]  # TFDS has no types
    """TFDS builder of a data set; `_writer_class` gives it a name, a version and a configuration.

    Args:
        builder: Builder of the data set.
        found: Result of its survey.
        images: Writer that has written the images of the records.
        root: Folder in which prepared data is kept.
        name: Name of the data set in error messages and progress lines.
    """

    # TFDS would look this up through importlib_resources, which may be missing; it is needed for checksums only.
    code_path = None

    def __init__(
        self, builder: DatasetBuilder, found: Survey, images: ImageWriter, root: pathlib.Path, name: str
    ) -> None:
        self._builder = builder
        self._images = images
        self._title = name
        self._found = found
        self._numbers = {answer: number for number, answer in enumerate(found.answer_names)}
        self.progress = ProgressLine(f"preparing {name}", total=sum(found.split_sizes.values()))
        super().__init__(data_dir=str(root), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = record_features(self._found.kind, self._found.answer_names)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, Stored]]]:
        # At this point TFDS writes to a folder that it renames in the end.
        folder = pathlib.Path(self.data_path)
        self._images.link_into(folder)
        write_whole(folder / SOURCE, self._builder.source_name)
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, Stored]]:
        for record in self.progress.over(records_of(self._builder, self._title, split)):
            images = [self._images.number_of(image) for image in record.images]
            if split == "train":
                record = without_unknown(record, self._numbers)
            yield record.id, stored(record, images, self._numbers, self._found.most_answers)


def _writer_class(name: str, builder: DatasetBuilder) -> type[RecordWriter]:
    """Creates a writer class; TFDS takes the names of folders from it: `name/configuration/version`."""
    attributes: dict[str, Any] = {"name": name, "VERSION": tfds.core.Version(builder.version)}
    variant = builder.variant
    if variant:
        attributes["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=variant)]
    return types.new_class(name, (RecordWriter,), {"skip_registration": True}, lambda body: body.update(attributes))
