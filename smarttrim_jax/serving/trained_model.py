"""A trained model without its data set: everything that answering, explaining, converting and measuring need."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.images import Preset, Resize
from smarttrim_jax.data.language import Language
from smarttrim_jax.data.sentences import TextCleaning
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.execution.base import ExecutionName
from smarttrim_jax.execution.timings import ExecutionTimings
from smarttrim_jax.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.serving.answering import Answering
from smarttrim_jax.serving.comparing import Comparing
from smarttrim_jax.serving.folder import Contents, read_folder, version_of, write_folder
from smarttrim_jax.serving.indexing import IndexBuilder
from smarttrim_jax.serving.predictor import Answer, Failure, Predictor
from smarttrim_jax.serving.questions import Question, QuestionReader, listed
from smarttrim_jax.serving.search import ImageIndex, candidates_of
from smarttrim_jax.tasks import Captions, Task, make_task
from smarttrim_jax.tasks.retrieval import Pairs
from smarttrim_jax.training.digests import summarize
from smarttrim_jax.trimming.calibration import SpeedDial
from smarttrim_jax.trimming.cost import CostConfig
from smarttrim_jax.trimming.gates import Trim


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model with its tokenizer, its answers and its speed dial; see `load_model` and `from_params`.

    Attributes:
        config: Run configuration with all sizes resolved.
        params: The model's parameters.
        language: Tokenizer of the texts it reads and names of the answers it gives.
        dial: Maps speed-ups to logit offsets; None if the model has never been trimmed.
        origin: Folder and short digest of the model, which lines of answers repeat; "" for none.
        timings: Measured times of its executions, by which one is chosen; see `ExecutionConfig.name`.
    """

    config: ExperimentConfig
    params: Params
    language: Language
    dial: SpeedDial | None = None
    origin: str = ""
    timings: ExecutionTimings = ExecutionTimings()

    @classmethod
    def from_params(
        cls,
        model: ModelConfig,
        params: Params,
        *,
        tokenizer: str | os.PathLike[str],
        answers: Sequence[str] = (),
        text_length: int,
        task: str | None = None,
        pixels: Preset = "clip",
        resize: Resize = "resize",
        prompt: str = "",
        text_cleaning: TextCleaning = "none",
        max_words: int = 0,
        dial: SpeedDial | None = None,
        target_speedup: float = 2.0,
    ) -> "TrainedModel":
        """Creates a model that was trained in a user's own loop.

        Args:
            model: Configuration of the model.
            params: The model's parameters.
            tokenizer: Path of the vocabulary that the texts were encoded with; see `TextEncoder.load`.
            answers: Names of the classes, in the order of their numbers.
            text_length: Tokens of every text, the start and end token included.
            task: Name of the task that the model was trained for; None for the first of `model.tasks`.
            pixels: Name of the normalisation of images.
            resize: "resize" takes the whole image, "resize_crop" the centre of a photograph.
            prompt: Words that captions begin with.
            text_cleaning: Cleaning of texts; see `data.sentences.clean_text`.
            max_words: Words after which texts are cut; 0 never cuts.
            dial: Result of `trimming.calibration.calibrate`; None for a model that never trims.
            target_speedup: Speed-up in MACs that is used unless another is asked for.

        Returns:
            The trained model.

        Raises:
            ConfigError: Settings do not fit each other.
            DataError: The vocabulary cannot be read.
        """
        data = DataConfig(
            dataset="",
            image_size=model.image_size,
            text_length=text_length,
            batch_size=1,
            resize=resize,
            start=model.text_start(),
            prompt=prompt,
            text_cleaning=text_cleaning,
            max_words=max_words,
        )
        config = ExperimentConfig(
            model=model,
            data=data,
            task=next(iter(model.tasks)) if task is None else task,
            pixels=pixels,
            cost=CostConfig(target_speedup=target_speedup),
            schedule=ScheduleConfig(full_steps=1, trim_steps=0),  # Placeholder: the user's loop is not known.
        )
        language = Language(TextEncoder.load(tokenizer, text_length, data.start), tuple(answers))
        return cls(config, params, language, dial)

    @property
    def model(self) -> Functional:
        """The model as pure functions of its parameters."""
        return self.task.model

    @functools.cached_property
    def task(self) -> Task:
        """Task that the model was trained for."""
        return make_task(self.config, self.language)

    @functools.cached_property
    def reader(self) -> QuestionReader:
        """Prepares questions for the model."""
        return QuestionReader(self.task, self.language.text)

    @functools.cached_property
    def answering(self) -> Answering:
        """Answers batches, with programs that are compiled once for all speed-ups."""
        return Answering(self.task, self.params, self.timings)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Answers any number of questions, in batches."""
        return Predictor(self.task, self.reader, self.answering)

    @functools.cached_property
    def comparing(self) -> Comparing:
        """Compares images and texts, of a model of retrieval, with programs that are compiled once."""
        assert isinstance(self.task, Pairs)
        return Comparing(self.task, self.params)

    def executed(self, name: ExecutionName) -> "TrainedModel":
        """Returns the same model, whose batches are executed otherwise.

        Args:
            name: Name of the execution; see `ExecutionConfig.name`.

        Returns:
            The model; its programs are compiled anew.
        """
        execution = dataclasses.replace(self.config.execution, name=name)
        return dataclasses.replace(self, config=dataclasses.replace(self.config, execution=execution))

    def speedup(self, asked: float | None = None) -> float:
        """Resolves a speed-up that may be left out.

        Args:
            asked: Speed-up in MACs; None for the one that the model was trained for.

        Returns:
            The speed-up in MACs; 1 by default for a model without a dial.
        """
        if asked is not None:
            return asked
        return 1.0 if self.dial is None else self.config.cost.target_speedup

    def trim(self, speedup: float | None = None) -> Trim | None:
        """Converts a speed-up to the trimmers' settings.

        Args:
            speedup: Speed-up in MACs; None for the one that the model was trained for.

        Returns:
            Settings with the dial's offset; None for a model that has never been trimmed, which runs at full
            capacity.

        Raises:
            ConfigError: The speed-up is beyond the dial, or was asked of a model that has never been trimmed.
        """
        asked = self.speedup(speedup)
        if self.dial is not None:
            return Trim(offset=self.dial.offset_for(asked))
        if not asked == 1.0:
            raise ConfigError(
                f"speedup is {asked}, but this model has no speed dial: it was not trim-tuned to the end; ask for 1, "
                "or train it with schedule.trim_steps"
            )
        return None

    def answer(
        self,
        images: Any,
        texts: str | Sequence[str] | None = None,
        *,
        speedup: float | None = None,
        batch_size: int = 32,
    ) -> list[Answer]:
        """Answers questions about images, or writes captions.

        Args:
            images: One image, or one for each question; an image is a file, a PIL image or a uint8 array
                `[height, width, 3]` (see `data.images.open_image`). For a model that reads several images together
                (NLVR2's two), a sequence of so many, or such a sequence for each question.
            texts: One question or statement for all images, or one for each; one image may also be asked many. None
                for captions. A model of retrieval says whether image and text match; `index` searches.
            speedup: Speed-up in MACs; None for the one that the model was trained for.
            batch_size: Number of questions computed at a time.

        Returns:
            An answer for each question, in order, with its confidence and the share of MACs that was saved.

        Raises:
            ConfigError: The speed-up is beyond the model's dial.
            DataError: An image or a text cannot be read, or the numbers of images and texts do not fit.
        """
        trim = self.trim(speedup)
        answers: list[Answer] = []
        for answer in self.predictor(self._questions(images, texts), trim, batch_size):
            if isinstance(answer, Failure):
                raise DataError(f"question {len(answers)} cannot be asked: {answer.error}")
            answers.append(answer)
        return answers

    @functools.cached_property
    def version(self) -> str:
        """Short digest of the parameters, the vocabulary and the answers: equal for equal models."""
        return version_of(summarize(self.params), self.language)

    def index(
        self,
        folder: str | os.PathLike[str],
        *,
        file: str | None = None,
        speedup: float | None = None,
        batch_size: int = 32,
    ) -> ImageIndex:
        """Encodes the images of a folder, so that they can be searched by texts.

        Args:
            folder: Folder of images; folders inside it are not searched.
            file: File of the index, ending in `.safetensors`. If it exists, only images that were added or changed
                since are encoded; it is written at the end, and every minute until then. None keeps no file.
            speedup: Speed-up in MACs at which images and texts are trimmed; None for the one that the model was
                trained for.
            batch_size: Number of images computed at a time.

        Returns:
            The index. Images that cannot be read are named on standard error, and in its `unreadable`.

        Raises:
            CheckpointError: The file is no index, or that of another model or speed-up.
            ConfigError: The model was not trained for retrieval, or the speed-up is beyond its dial.
            DataError: The folder holds no image that can be read, the index is of another folder, or it cannot be
                written.
        """
        task, trim, data = self.task, self.trim(speedup), self.config.data
        if not isinstance(task, Pairs):
            raise ConfigError(
                f"this model was trained for '{self.config.task}' and has no features of an image or a text alone, "
                "by which a folder could be searched; take a BLIP that was trained for retrieval"
            )
        made_by = {
            "model": self.version,
            "speedup": self.speedup(speedup),
            "offset": None if trim is None else trim.offset,
            "image_size": data.image_size,
            "resize": data.resize,
            "pixels": self.config.pixels,
            "features": task.feature_width(self.params),
        }
        build = IndexBuilder(made_by, self.comparing, trim, self.reader, batch_size)
        path = pathlib.Path(folder)
        content, unreadable = build(path, file)
        candidates = candidates_of(task)
        return ImageIndex(path, content, unreadable, self.comparing, trim, self.reader, candidates, batch_size)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes everything that another machine needs to answer; see `serving.folder`.

        Args:
            folder: New or empty folder on a disk.

        Raises:
            CheckpointError: The folder is not empty or cannot be written, or the weights are not finite.
        """
        write_folder(folder, Contents(self.config, self.params, self.language, self.dial, self.origin, self.timings))

    def _questions(self, images: Any, texts: str | Sequence[str] | None) -> list[Question]:
        writes_captions = isinstance(self.task, Captions)
        if texts is None and not writes_captions:
            raise DataError("texts is None; only a model that writes captions needs no question")
        if texts is not None and writes_captions:
            raise DataError("this model writes captions and reads no text; leave out texts")
        groups = _grouped(images, self.reader.images)
        asked = [""] if texts is None else listed(texts)
        if len(groups) == 1:
            groups *= len(asked)
        if len(asked) == 1:
            asked *= len(groups)
        if len(groups) != len(asked):
            raise DataError(f"{len(groups)} images come with {len(asked)} texts; give as many, or one of either")
        return [Question(group, text) for group, text in zip(groups, asked, strict=True)]


def load_model(folder: str | os.PathLike[str], *, unfinished: bool = False) -> TrainedModel:
    """Opens the folder of a trained run, or one that `TrainedModel.save` wrote; its data set is not needed.

    Nothing that the folder holds is imported or run, and no file outside it is opened.

    Args:
        folder: Folder on a disk, or that of a run in a bucket.
        unfinished: Whether to accept a run that has not been trained to its end, and use its last checkpoint.

    Returns:
        The trained model.

    Raises:
        CheckpointError: There is no trained model, or its files are damaged, of other sizes, or links that leave the
            folder.
    """
    return TrainedModel(*read_folder(os.fspath(folder), unfinished))


def _grouped(images: Any, together: int) -> list[tuple[Any, ...]]:
    """Divides what a caller gave as images into the images of each question.

    Args:
        images: One image, or several in a sequence or along the first axis of an array; or a sequence of sequences.
        together: Number of images of a question.

    Returns:
        The images of each question; their numbers are not checked.
    """
    if _is_image(images):
        return [(images,)]
    several = list(images)
    if together > 1 and len(several) == together and all(map(_is_image, several)):
        return [tuple(several)]
    return [(each,) if _is_image(each) else tuple(each) for each in several]


def _is_image(given: Any) -> bool:
    """Whether something is a single image; a sequence, or an array of four axes, holds several."""
    if isinstance(given, np.ndarray | jax.Array):
        return given.ndim < 4
    return isinstance(given, str | bytes | bytearray | memoryview) or not isinstance(given, Iterable)
