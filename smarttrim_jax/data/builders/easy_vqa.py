"""easy-VQA (Victor Zhou, MIT licence): questions about one coloured shape in a 64x64 image."""

import importlib.util
import json
import pathlib
from collections.abc import Callable, Iterable

import tensorflow_datasets as tfds

from smarttrim_jax.data.builders.base import AnswerBuilder, Examples
from smarttrim_jax.errors import DataError

CALIBRATION_PERIOD = 10

Question = tuple[str, str, int]


class EasyVQA(AnswerBuilder):
    """easy-VQA: 5,000 images, 48,248 questions, 13 answers.

    The files come with `pip install easy-vqa` (MIT licence, 3.2 MB, nothing is downloaded); a folder of the
    same layout (`answers.txt`, `train/`, `test/`) may stand in as `source`. A sanity task, not a benchmark.

    | split | images | questions | which |
    |---|---|---|---|
    | train | 3,600 | 34,676 | the package's train, less calibration |
    | calibration | 400 | 3,899 | every question of the train images whose number 10 divides |
    | test | 1,000 | 9,673 | the package's test |

    Preparation takes about 10 seconds and 30 MB.

        builder = EasyVQA(data_dir="...", file_format="array_record")
        builder.download_and_prepare()
        builder.as_data_source(split="train")
    """

    name = "easy_vqa"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.describe(
            _answers(_folder(self.source)), homepage="https://github.com/vzhou842/easy-VQA", license="MIT"
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Examples]:
        folder = _folder(self.source)
        splits = {
            "train": self._examples(folder, "train", lambda image: image % CALIBRATION_PERIOD != 0),
            "calibration": self._examples(folder, "train", lambda image: image % CALIBRATION_PERIOD == 0),
            "test": self._examples(folder, "test", lambda image: True),
        }
        return {split: self._generate_examples(split, examples) for split, examples in splits.items()}

    def _examples(self, folder: pathlib.Path, split: str, wanted: Callable[[int], bool]) -> Examples:
        """The examples of one raw split about the wanted images; each carries its image's PNG bytes."""
        examples = self._examples_of(_questions(folder / split / "questions.json"))
        for number, (text, answer, image) in enumerate(examples):
            if wanted(image):
                path = folder / split / "images" / f"{image}.png"
                name = f"{split}-{image}-{number}"
                yield name, {"id": name, "images": [str(path)], "text": text, "answer": answer}

    def _examples_of(self, questions: list[Question]) -> Iterable[Question]:
        """Text, answer and image of every example."""
        return questions


def _folder(source: str) -> pathlib.Path:
    """The folder of the raw files, found without importing the package."""
    if source:
        return pathlib.Path(source).expanduser()
    package = importlib.util.find_spec("easy_vqa")
    if package is None or not package.submodule_search_locations:
        raise DataError("the easy-VQA data is not installed; run: pip install easy-vqa")
    return pathlib.Path(package.submodule_search_locations[0]) / "data"


def _answers(folder: pathlib.Path) -> list[str]:
    return _read(folder / "answers.txt").split()


def _questions(path: pathlib.Path) -> list[Question]:
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise DataError(f"easy-VQA file '{path}' is damaged: {error}; fetch it again") from error


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"easy-VQA lacks '{path}'; fetch it whole") from None
