"""What a trained model answers: a choice among few, or a text that it writes."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.generation.decoding import Generated
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Params
from smarttrim_jax.tasks import Captions, Choice, ChoosingTask, Task
from smarttrim_jax.trimming.gates import Trim, TrimRecord


class Answered(NamedTuple):
    """The answers to a batch.

    Attributes:
        texts: The answers.
        confidences: The probability of a choice; of a text that of its words, on (geometric) average.
        record: The gates of what was computed to choose; of a text, those of its image and of the words given.
    """

    texts: list[str]
    confidences: Float[np.ndarray, " batch"]
    record: TrimRecord


class Answering:
    """Answers by packed execution; captions are written greedily, from images whose closed tokens are masked.

    Programs are shared by all speed-ups.

    Args:
        task: What the model was trained for.
        params: Parameters of the model.
        text: Encodes and writes the model's words.
    """

    def __init__(self, task: Task, params: Params, text: TextEncoder):
        self._task = task
        self._params = params
        self._text = text
        self._executor = PackedExecutor(task.model, params, task.config.execution)
        assert isinstance(task, ChoosingTask | Captions)
        self._finish = jax.jit(task.choose if isinstance(task, ChoosingTask) else task.write)

    def __call__(self, images: Array, ids: Any, mask: Any, trim: Trim | None) -> Answered:
        """Answers a batch.

        Args:
            images: Normalised, `[batch, images, size, size, 3]`.
            ids: Token ids of the texts, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None runs at full capacity.
        """
        return self.read(self.execute(images, ids, mask, trim), images, trim)

    def execute(self, images: Array, ids: Any, mask: Any, trim: Trim | None) -> Output:
        """The model's output for a batch; arguments as in a call."""
        return self._executor(images, ids, mask, trim=trim)

    def read(self, output: Output, images: Array, trim: Trim | None) -> Answered:
        """The answers that an output holds, or captions of the images; arguments as in a call."""
        task = self._task
        if isinstance(task, ChoosingTask):
            choice: Choice = self._finish(self._params, output, trim)
            texts = [task.choices[number] for number in np.asarray(choice.number)]
            return Answered(texts, np.asarray(choice.probability), choice.record)
        written: Generated = self._finish(self._params, images, trim)
        texts = [self._text.written(each) for each in np.asarray(written.ids)]
        return Answered(texts, np.exp(written.scores), output.record)
