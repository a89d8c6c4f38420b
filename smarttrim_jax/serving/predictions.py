"""Writes what a model said about every example of a split, one JSON line each."""

import json
import os

import jax
from etils import epath

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.errors import DataError
from smarttrim_jax.evaluation.evaluator import Judged
from smarttrim_jax.small_files import write_whole

SAID = ("answer", "caption")
"""Names of outputs that are texts; targets have the same names."""


class Predictions:
    """Listener of an evaluation that collects one line per example and writes them at the end, on process 0 only.

    A line has the example's `id` in its data set, the `answer` or `caption` where the task has one, the `target` of
    the same kind, and the `macs` that were spent.

    Args:
        dataset: Data of the evaluation.
        split: Name of the evaluated split.
        path: File to write, on a disk or in a bucket; an existing one is replaced.

    Raises:
        DataError: The file's folder cannot be written, or there is no such split.
    """

    def __init__(self, dataset: Dataset, split: str, path: str):
        self._dataset = dataset
        self._split = split
        dataset.records(split)  # Fails before the evaluation if there is no such split.
        self._path = epath.Path(path).expanduser()
        self._lines: dict[int, str] = {}
        if jax.process_index() == 0:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._unwritable(error) from None
            if "://" not in path and not os.access(self._path.parent, os.W_OK):
                raise self._unwritable(PermissionError("no permission"))

    def __call__(self, judged: Judged) -> None:
        """Receives evaluated examples.

        Args:
            judged: Results of some examples.
        """
        if jax.process_index() != 0:
            return
        texts = next((name for name in SAID if name in judged.outputs), None)
        names = self._dataset.ids(self._split, [int(index) for index in judged.indices])
        for row, (index, name) in enumerate(zip(judged.indices, names, strict=True)):
            line = {"id": name}
            if texts is not None:
                line |= {texts: judged.outputs[texts][row], "target": judged.targets[texts][row]}
            self._lines[int(index)] = json.dumps(line | {"macs": round(float(judged.macs[row]))}, ensure_ascii=False)

    def write(self) -> None:
        """Writes the file, in the order of the split.

        Raises:
            DataError: The file cannot be written.
        """
        if jax.process_index() != 0:
            return
        try:
            write_whole(self._path, "".join(f"{self._lines[index]}\n" for index in sorted(self._lines)))
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"cannot write '{self._path}': {error.strerror or error}; choose another --predictions")
