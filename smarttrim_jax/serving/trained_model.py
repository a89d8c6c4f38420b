"""A trained model on its own: what answering, explaining, converting and measuring need, and no data set."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from PIL import Image

from smarttrim_jax.data.config import DataConfig, Start
from smarttrim_jax.data.images import Preset, Resize
from smarttrim_jax.data.language import Language
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.models.functional import Functional, ModelConfig, Params
from smarttrim_jax.serving.answering import Answering
from smarttrim_jax.serving.folder import Contents, read_folder, write_folder
from smarttrim_jax.serving.predictor import Answer, Failure, Predictor
from smarttrim_jax.serving.questions import Question, QuestionReader
from smarttrim_jax.tasks import Captions, Task, make_task
from smarttrim_jax.trimming.calibration import SpeedDial
from smarttrim_jax.trimming.cost import CostConfig
from smarttrim_jax.trimming.gates import Trim


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model with its words, its answers and its speed dial; `load_model` opens one, `from_params` makes one.

    Attributes:
        config: Configuration of its run, with all sizes resolved.
        params: Parameters of the model.
        language: The words it reads and the answers it gives.
        dial: From speed-up to logit offset; None if it never trimmed.
        origin: Where it comes from, for the lines that it answers.
    """

    config: ExperimentConfig
    params: Params
    language: Language
    dial: SpeedDial | None = None
    origin: str = ""

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
        dial: SpeedDial | None = None,
        target_speedup: float = 2.0,
    ) -> "TrainedModel":
        """A model that was trained in a loop of the user's own.

        Args:
            model: Configuration of the model.
            params: Its parameters.
            tokenizer: The vocabulary that its texts were encoded with, see `TextEncoder.load`.
            answers: Names of the classes, in the order of their numbers.
            text_length: Tokens of every text, the start and end token included.
            task: What it was trained for; by default the first of `model.tasks`.
            pixels: How images are normalised.
            resize: "resize" takes the whole image, "resize_crop" the centre of a photograph.
            prompt: Words that captions begin with.
            dial: Measured by `trimming.calibration.calibrate`; None for a model that never trims.
            target_speedup: The speed-up in MACs that is used unless another is asked for.

        Raises:
            ConfigError: Settings that do not fit each other.
            DataError: A vocabulary that cannot be read.
            CheckpointError: Parameters of another model.
        """
        start = model.text_start()
        data = DataConfig(
            dataset="",
            image_size=model.image_size,
            text_length=text_length,
            batch_size=1,
            resize=resize,
            start=cast(Start, start),  # which DataConfig checks
            prompt=prompt,
        )
        config = ExperimentConfig(
            model=model,
            data=data,
            task=next(iter(model.tasks)) if task is None else task,
            pixels=pixels,
            cost=CostConfig(target_speedup=target_speedup),
            schedule=ScheduleConfig(full_steps=1, trim_steps=0),  # whatever the user's loop did
        )
        language = Language(TextEncoder.load(tokenizer, text_length, start), tuple(answers))
        return cls(config, params, language, dial)

    @property
    def model(self) -> Functional:
        """The model as pure functions."""
        return self.task.model

    @functools.cached_property
    def task(self) -> Task:
        """What was trained, and how it is judged."""
        return make_task(self.config, self.language)

    @functools.cached_property
    def reader(self) -> QuestionReader:
        """Prepares questions for it."""
        return QuestionReader(self.task, self.language.text)

    @functools.cached_property
    def answering(self) -> Answering:
        """Answers batches, with programs that are compiled once for all speed-ups."""
        return Answering(self.task, self.params, self.language.text)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Answers any number of questions."""
        return Predictor(self.task, self.reader, self.answering)

    def speedup(self, asked: float | None = None) -> float:
        """The speed-up in MACs that is meant: the asked one, or that which the model was trained for."""
        if asked is not None:
            return asked
        return 1.0 if self.dial is None else self.config.cost.target_speedup

    def trim(self, speedup: float | None = None) -> Trim | None:
        """How the trimmers decide at a speed-up in MACs.

        Args:
            speedup: By default the one that the model was trained for.

        Returns:
            None for a model that never trimmed: it runs at full capacity.

        Raises:
            ConfigError: A speed-up beyond the dial, or one asked of a model that never trimmed.
        """
        asked = self.speedup(speedup)
        if self.dial is not None:
            return Trim(offset=self.dial.offset_for(asked))
        if not asked == 1.0:
            raise ConfigError(f"speedup is {asked}, but this model has no speed dial: its trim-tuning has not ended")
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
                `[height, width, 3]` (see `data.images.open_image`). For a model that reads several images, give a
                sequence of them for each question.
            texts: One question for all images, or one for each; one image may be asked many. None for captions.
            speedup: In MACs; by default the one that the model was trained for.
            batch_size: Questions computed at a time.

        Returns:
            An answer for each question, in order, with its confidence and the share of MACs that was saved.

        Raises:
            ConfigError: A speed-up beyond the model's dial.
            DataError: An image or a text that cannot be read, or as many images as texts do not fit.
        """
        trim = self.trim(speedup)
        answers: list[Answer] = []
        for answer in self.predictor(self._questions(images, texts), trim, batch_size):
            if isinstance(answer, Failure):
                raise DataError(f"question {len(answers)} cannot be asked: {answer.error}")
            answers.append(answer)
        return answers

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes all that another machine needs to answer: see `serving.folder`.

        Args:
            folder: On a disk; new or empty.

        Raises:
            CheckpointError: The folder holds something or cannot be written, or the weights are not finite.
        """
        write_folder(folder, Contents(self.config, self.params, self.language, self.dial, self.origin))

    def _questions(self, images: Any, texts: str | Sequence[str] | None) -> list[Question]:
        groups = [tuple(each) if isinstance(each, list | tuple) else (each,) for each in _many(images)]
        asked = [texts] if isinstance(texts, str) else [""] if texts is None else list(texts)
        if texts is None and not isinstance(self.task, Captions):
            raise DataError("texts is None; only a model that writes captions needs no question")
        if len(groups) == 1:
            groups *= len(asked)
        if len(asked) == 1:
            asked *= len(groups)
        if len(groups) != len(asked):
            raise DataError(f"{len(groups)} images come with {len(asked)} texts; give as many, or one of either")
        return [Question(group, text) for group, text in zip(groups, asked, strict=True)]


def load_model(folder: str | os.PathLike[str], *, unfinished: bool = False) -> TrainedModel:
    """Opens a trained run's folder, or one that `TrainedModel.save` wrote; its data set is not needed.

    Nothing that the folder holds is imported or run, and no file outside it is opened.

    Args:
        folder: On a disk, or a run's in a bucket.
        unfinished: Take a run's last checkpoint though it has not been trained to its end.

    Raises:
        CheckpointError: There is no trained model, or its files are damaged, of other sizes or from elsewhere.
    """
    return TrainedModel(*read_folder(os.fspath(folder), unfinished))


def _many(images: Any) -> Sequence[Any]:
    """One image, or several along the first axis of an array or in a sequence, as a sequence."""
    if isinstance(images, str | os.PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
        return [images]
    return list(images)
