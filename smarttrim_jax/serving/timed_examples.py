"""Real examples for benchmarks of a trained model: a user's questions, or the first examples of a split."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.examples import Examples
from smarttrim_jax.data.images import normalize
from smarttrim_jax.errors import DataError
from smarttrim_jax.execution.base import Batch
from smarttrim_jax.serving.predictor import Failure
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.serving.trained_model import TrainedModel


def first_questions(trained: TrainedModel, questions: Iterable[Question | Failure]) -> Batch:
    """Prepares questions as one batch.

    Args:
        trained: The model that reads the questions.
        questions: Questions to ask.

    Returns:
        Normalised images `[batch, images, size, size, 3]`, token ids and mask `[batch, tokens]`.

    Raises:
        DataError: There is no question, or one cannot be asked.
    """
    prepared = []
    for question in questions:
        if isinstance(question, Failure):
            raise DataError(question.error)
        prepared.append(trained.reader(question))
    if not prepared:
        raise DataError("there is no question to time the model on")
    return _batch(
        trained,
        [each.images for each in prepared],
        [each.ids for each in prepared],
        [each.mask for each in prepared],
    )


def first_examples(trained: TrainedModel, dataset: Dataset, split: str, count: int) -> Batch:
    """Reads the first examples of a split as one batch.

    Args:
        trained: The model that reads the examples.
        dataset: Data of the model.
        split: Name of the split.
        count: Maximum number of examples.

    Returns:
        Normalised images `[batch, images, size, size, 3]`, token ids and mask `[batch, tokens]`.

    Raises:
        DataError: There is no such split.
    """
    examples = Examples(dataset, split, trained.config.data)
    first = [examples.get(index) for index in range(min(count, len(examples)))]
    parts = ([example[name] for example in first] for name in ("image", "text_ids", "text_mask"))
    return _batch(trained, *parts)


def _batch(
    trained: TrainedModel, images: Sequence[Any], ids: Sequence[np.ndarray], mask: Sequence[np.ndarray]
) -> Batch:
    return normalize(jnp.asarray(np.stack(images)), trained.config.pixels), np.stack(ids), np.stack(mask)
