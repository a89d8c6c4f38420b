"""Files of what a model said about every example of a split: predictions, and submissions to a benchmark."""

import abc
import json
import os
from collections.abc import Sequence

import jax
from etils import epath

from smarttrim_jax.data.submissions import Result, SubmissionFormat
from smarttrim_jax.errors import DataError
from smarttrim_jax.evaluation.evaluator import Judged
from smarttrim_jax.small_files import write_whole

SAID = ("answer", "caption")
"""Names of outputs that are texts; targets have the same names."""


class ResultsFile(abc.ABC):
    """Listener of an evaluation that collects an entry per example and writes a file at the end, on process 0 only.

    Args:
        path: File to write, on a disk or in a bucket; an existing one is replaced.

    Attributes:
        flag: Flag of the commands that names the file, for errors.
        needs: Names of outputs and targets that are computed or read on demand; see `metrics.Metric`.

    Raises:
        DataError: The file's folder cannot be written.
    """

    flag: str
    needs: tuple[str, ...]

    def __init__(self, path: str):
        self._path = epath.Path(path).expanduser()
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
        if jax.process_index() == 0:
            self.collect(judged)

    @abc.abstractmethod
    def collect(self, judged: Judged) -> None:
        """Keeps what the file says about some examples; called on process 0 only.

        Args:
            judged: Results of some examples.
        """

    @abc.abstractmethod
    def contents(self) -> str:
        """Returns the contents of the file, in the order of the split."""

    def write(self) -> None:
        """Writes the file.

        Raises:
            DataError: The file cannot be written, or takes other results.
        """
        if jax.process_index() != 0:
            return
        try:
            write_whole(self._path, self.contents())
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"cannot write '{self._path}': {error.strerror or error}; choose another --{self.flag}")


class Predictions(ResultsFile):
    """A JSON line for every example.

    A line has the example's `id` in its data set, the `answer` or `caption` where the task has one, the `target` of
    the same kind, and the `macs` that were spent.

    Args:
        path: File to write, on a disk or in a bucket; an existing one is replaced.

    Raises:
        DataError: The file's folder cannot be written.
    """

    flag = "predictions"
    needs = ("caption", "id")

    def __init__(self, path: str):
        self._lines: dict[int, str] = {}
        super().__init__(path)

    def collect(self, judged: Judged) -> None:
        """Keeps the lines of some examples.

        Args:
            judged: Results of some examples; its targets have `id`.
        """
        texts = _said(judged)
        for row, (index, name) in enumerate(zip(judged.indices, judged.targets["id"], strict=True)):
            line = {"id": name}
            if texts is not None:
                line |= {texts: judged.outputs[texts][row], "target": judged.targets[texts][row]}
            self._lines[int(index)] = json.dumps(line | {"macs": round(float(judged.macs[row]))}, ensure_ascii=False)

    def contents(self) -> str:
        """Returns the lines, in the order of the split."""
        return "".join(f"{self._lines[index]}\n" for index in sorted(self._lines))


class Submission(ResultsFile):
    """The answers or captions of a split in the form in which a benchmark takes them.

    Args:
        form: The benchmark's form; `submission` of the builder of its data set.
        path: File to write, on a disk or in a bucket; an existing one is replaced.

    Raises:
        DataError: The file's folder cannot be written.
    """

    flag = "submission"
    needs = ("caption", "id", "metadata")

    def __init__(self, form: SubmissionFormat, path: str):
        self._form = form
        self._results: dict[int, Result] = {}
        super().__init__(path)

    def collect(self, judged: Judged) -> None:
        """Keeps the results of some examples.

        Args:
            judged: Results of some examples; its targets have `id` and `metadata`.

        Raises:
            DataError: The task gives neither answers nor captions.
        """
        texts = _said(judged)
        if texts is None:
            raise DataError("the model's task gives neither answers nor captions; leave out --submission")
        targets = judged.targets
        for index, *result in zip(
            judged.indices, targets["id"], targets["metadata"], judged.outputs[texts], strict=True
        ):
            self._results[int(index)] = Result(*result)

    def contents(self) -> str:
        """Returns the results in the benchmark's form, in the order of the split."""
        return self._form([self._results[index] for index in sorted(self._results)])


class ResultsFiles:
    """Several files of results as one listener.

    Args:
        files: The files.

    Attributes:
        needs: Names of outputs and targets that any of the files needs.
    """

    def __init__(self, files: Sequence[ResultsFile]):
        self._files = files
        self.needs = tuple(sorted({need for file in files for need in file.needs}))

    def __call__(self, judged: Judged) -> None:
        """Passes evaluated examples to all files.

        Args:
            judged: Results of some examples.
        """
        for file in self._files:
            file(judged)

    def write(self) -> None:
        """Writes all files; see `ResultsFile.write`.

        Raises:
            DataError: A file cannot be written, or takes other results.
        """
        for file in self._files:
            file.write()


def _said(judged: Judged) -> str | None:
    """Name of the output that is a text; None where the task has none."""
    return next((name for name in SAID if name in judged.outputs), None)
