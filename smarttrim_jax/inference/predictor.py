"""Answers to questions about images, with what was saved on each."""

import dataclasses
import pathlib
import time
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from smarttrim_jax.data.examples import grouped
from smarttrim_jax.data.images import decode, normalize, side_by_side, to_array
from smarttrim_jax.errors import DataError
from smarttrim_jax.inference.answering import Answering
from smarttrim_jax.training.finished import FinishedRun
from smarttrim_jax.training.tasks import Captions


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        images: files, as many as the model takes.
        text: the question or statement.
    """

    images: tuple[str, ...]
    text: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is answered.

    Attributes:
        images: of the question.
        text: of the question.
        answer: the class's name, or the text written.
        confidence: its probability; see `Answered`.
        macs_saved: share of the full model's MACs that was not spent.
        seconds: of the batch it was in, per question.
    """

    images: tuple[str, ...]
    text: str
    answer: str
    confidence: float
    macs_saved: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a question has no answer.

    Attributes:
        images: of the question.
        text: of the question.
        error: an image that cannot be read, another number of images than the model takes, an empty text.
    """

    images: tuple[str, ...]
    text: str
    error: str


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A question as the model takes it."""

    question: Question
    images: np.ndarray
    ids: np.ndarray
    mask: np.ndarray


class Predictor:
    """Answers with packed execution.

    Args:
        run: a finished one.
        speedup: in MACs; the one it was trained for by default.
    """

    def __init__(self, run: FinishedRun, speedup: float | None = None):
        self._run, self._trim = run, run.trim(speedup)
        self._answering = Answering(run, self._trim)

    def __call__(self, questions: Sequence[Question], batch_size: int = 32) -> Iterator[Answer | Failure]:
        """Answers in the order of the questions; one that cannot be asked keeps no other from its answer.

        Args:
            questions: any number of them.
            batch_size: questions at a time.
        """
        for start in range(0, len(questions), batch_size):
            prepared = [self._prepared(question) for question in questions[start : start + batch_size]]
            answers = self._answer([each for each in prepared if isinstance(each, _Prepared)])
            for each in prepared:
                yield each if isinstance(each, Failure) else next(answers)

    def _prepared(self, question: Question) -> "_Prepared | Failure":
        try:
            return _Prepared(question, self._read(question), *self._encode(question))
        except DataError as error:
            return Failure(question.images, question.text, str(error))

    def _answer(self, prepared: Sequence["_Prepared"]) -> Iterator[Answer]:
        if not prepared:
            return
        run, model = self._run, self._run.model
        start = time.perf_counter()
        images = normalize(jnp.stack([each.images for each in prepared]), run.config.pixels)
        ids, mask = np.stack([each.ids for each in prepared]), np.stack([each.mask for each in prepared])
        texts, confidences, record = self._answering(images, ids, mask)
        full = model.macs(record.opened(), trimmed=False)
        saved = np.asarray(1 - model.macs(record, trimmed=self._trim is not None) / full)
        seconds = (time.perf_counter() - start) / len(prepared)
        for each, text, confidence, share in zip(prepared, texts, confidences, saved, strict=True):
            question = each.question
            yield Answer(question.images, question.text, text, float(confidence), float(share), seconds)

    def _read(self, question: Question) -> np.ndarray:
        data = self._run.config.data
        needed = self._run.dataset.num_images if data.images else self._run.config.model.images
        if len(question.images) != needed:
            raise DataError(f"'{question.text}' comes with {len(question.images)} images; the model takes {needed}")
        images = [decode(_bytes(file), file) for file in question.images]
        pictures = map(side_by_side, grouped(images, data.images))
        return np.stack([to_array(picture, data.image_size, data.resize) for picture in pictures])

    def _encode(self, question: Question) -> tuple[np.ndarray, np.ndarray]:
        task = self._run.task
        if isinstance(task, Captions):
            return task.prompt.astype(np.int32), np.ones(len(task.prompt), np.int32)
        try:
            return self._run.dataset.text.encode(question.text)
        except DataError as error:
            raise DataError(f"text '{question.text}': {error}") from None


def _bytes(file: str) -> bytes:
    try:
        return pathlib.Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read image '{file}': {error.strerror}") from None
