"""Answers of a trained model to a batch: a choice among a few names, or a text that it writes."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from smarttrim_jax.execution.auto import make_executor
from smarttrim_jax.execution.timings import ExecutionTimings
from smarttrim_jax.generation.decoding import Generated
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Params
from smarttrim_jax.tasks import Captions, Choice, ChoosingTask, Task
from smarttrim_jax.trimming.gates import Trim, TrimRecord


class Answered(NamedTuple):
    """The answers to a batch.

    Attributes:
        texts: Answers as texts, one per example.
        confidences: Probability of the choice, `[batch]`; for a written text the geometric mean of its words'
            probabilities.
        record: Gates of everything that was computed for the choice; for a written text, those of its image and
            prompt.
    """

    texts: list[str]
    confidences: Float[np.ndarray, " batch"]
    record: TrimRecord


class Answering:
    """Answers batches by the execution that the configuration names.

    Captions are written greedily, from images whose closed tokens are masked. All speed-ups share the compiled
    programs.

    Args:
        task: Task that the model was trained for.
        params: The model's parameters.
        timings: Measured times of the model's executions; None for none.
    """

    def __init__(self, task: Task, params: Params, timings: ExecutionTimings | None = None):
        self._task = task
        self._params = params
        self._executor = make_executor(task.model, params, task.config.execution, timings)
        assert isinstance(task, ChoosingTask | Captions)
        self._finish = jax.jit(task.choose if isinstance(task, ChoosingTask) else task.write)

    @property
    def execution(self) -> str:
        """The execution of the batches so far; see `Executor.description`."""
        return self._executor.description

    def __call__(self, images: Array, ids: Any, mask: Any, trim: Trim | None) -> Answered:
        """Answers a batch.

        Args:
            images: Normalised images, `[batch, images, size, size, 3]`.
            ids: Token ids of the texts, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            Answers, confidences and the record.
        """
        return self.read(self.execute(images, ids, mask, trim), images, trim)

    def execute(self, images: Array, ids: Any, mask: Any, trim: Trim | None) -> Output:
        """Runs the model on a batch.

        Args:
            images: Normalised images, `[batch, images, size, size, 3]`.
            ids: Token ids of the texts, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            The model's output.
        """
        return self._executor(images, ids, mask, trim=trim)

    def read(self, output: Output, images: Array, trim: Trim | None) -> Answered:
        """Reads the answers from an output, or writes captions of the images.

        Args:
            output: Result of `execute`.
            images: Normalised images that the output is of, `[batch, images, size, size, 3]`.
            trim: How the trimmers decide; the same as in `execute`.

        Returns:
            Answers, confidences and the record.
        """
        task = self._task
        if isinstance(task, ChoosingTask):
            choice: Choice = self._finish(self._params, output, trim)
            texts = [task.choices[number] for number in np.asarray(choice.number)]
            return Answered(texts, np.asarray(choice.probability), choice.record)
        assert isinstance(task, Captions)
        written: Generated = self._finish(self._params, images, trim)
        return Answered(task.captions(np.asarray(written.ids)), np.exp(written.scores), output.record)
