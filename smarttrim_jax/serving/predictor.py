"""Answers any number of questions in their order, with the share of MACs saved on each."""

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from smarttrim_jax.data.images import normalize
from smarttrim_jax.errors import DataError
from smarttrim_jax.serving.answering import Answering
from smarttrim_jax.serving.questions import PreparedQuestion, Question, QuestionReader
from smarttrim_jax.tasks import Task
from smarttrim_jax.trimming.gates import Trim

MOST_WAITING = 8
"""Upper bound on the questions read to fill one batch with readable ones, as a multiple of the batch size."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
        answer: Name of the class, or the text written.
        confidence: Probability of the answer; see `Answered`.
        macs_saved: Share of the full model's MACs that was not spent.
        seconds: Time of the batch divided by its number of questions; with compilation, where a shape is new.
        text_cut: Whether the question has more words or tokens than the model reads, so that its end was ignored.
    """

    answer: str
    confidence: float
    macs_saved: float
    seconds: float
    text_cut: bool


@dataclasses.dataclass(frozen=True)
class Failure:
    """The reason why a question has no answer.

    Attributes:
        error: The reason in one sentence.
    """

    error: str


class Predictor:
    """Answers questions with packed execution.

    Every batch holds the same number of questions, with fillers at its end, so that unreadable questions change no
    shape and trigger no compilation.

    Args:
        task: Task that the model was trained for.
        reader: Prepares questions.
        answering: Answers batches.
    """

    def __init__(self, task: Task, reader: QuestionReader, answering: Answering):
        self._task = task
        self._reader = reader
        self._answering = answering

    def __call__(
        self, questions: Iterable[Question | Failure], trim: Trim | None, batch_size: int = 32
    ) -> Iterator[Answer | Failure]:
        """Answers questions in their order; a question that cannot be asked does not affect the others.

        Args:
            questions: Questions, read as they are answered, so that there may be arbitrarily many. A failure among
                them is passed on.
            trim: How the trimmers decide; None runs at full capacity.
            batch_size: Number of questions computed at a time.

        Yields:
            The answer to each question, or the reason why it has none.
        """
        waiting: list[PreparedQuestion | Failure] = []
        readable = 0
        least = 1  # If all questions fit into one batch, it need not be filled up.
        for question in questions:
            waiting.append(self._prepared(question))
            readable += isinstance(waiting[-1], PreparedQuestion)
            if readable == batch_size or len(waiting) == MOST_WAITING * batch_size:
                yield from self._answered(waiting, trim, batch_size)
                waiting = []
                readable = 0
                least = batch_size
        yield from self._answered(waiting, trim, max(readable, least))

    def _prepared(self, question: Question | Failure) -> PreparedQuestion | Failure:
        if isinstance(question, Failure):
            return question
        try:
            return self._reader(question)
        except DataError as error:
            return Failure(str(error))

    def _answered(
        self, waiting: Sequence[PreparedQuestion | Failure], trim: Trim | None, size: int
    ) -> Iterator[Answer | Failure]:
        prepared = [each for each in waiting if isinstance(each, PreparedQuestion)]
        answers = iter(self._answer(prepared, trim, size) if prepared else [])
        for each in waiting:
            yield each if isinstance(each, Failure) else next(answers)

    def _answer(self, prepared: Sequence[PreparedQuestion], trim: Trim | None, size: int) -> list[Answer | Failure]:
        start = time.perf_counter()
        filled = [*prepared, *[prepared[0]] * (size - len(prepared))]
        images = normalize(np.stack([each.images for each in filled]), self._task.config.pixels)
        ids = np.stack([each.ids for each in filled])
        mask = np.stack([each.mask for each in filled])
        texts, confidences, record = self._answering(images, ids, mask, trim)
        model = self._task.model
        saved = np.asarray(1 - model.macs(record, trimmed=trim is not None) / model.full_macs(record))
        seconds = (time.perf_counter() - start) / len(prepared)
        return [
            Answer(text, float(confidence), float(share), seconds, each.text_cut)
            if math.isfinite(confidence)
            else Failure("the model's confidence is not a number: its weights are damaged, or its sizes do not fit")
            for text, confidence, share, each in zip(texts, confidences, saved, prepared, strict=False)
        ]
