"""What a finished run answers: a choice among few, or a text that it writes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from smarttrim_jax.inference.executor import PackedExecutor
from smarttrim_jax.inference.generation import GenerationConfig
from smarttrim_jax.inference.generation.blip import write_captions
from smarttrim_jax.inference.generation.decoding import Generated
from smarttrim_jax.models.functional import Params
from smarttrim_jax.training.finished import FinishedRun
from smarttrim_jax.training.tasks import Captions, Choice, ChoosingTask
from smarttrim_jax.trimming.gates import Trim, TrimRecord


class Answered(NamedTuple):
    """The answers to a batch.

    Attributes:
        texts: the answers.
        confidences: the probability of a choice; of a text that of its words, on (geometric) average.
        record: of what was computed to choose; of a text, of its image and of the words given.
    """

    texts: list[str]
    confidences: Float[np.ndarray, " batch"]
    record: TrimRecord


class Answering:
    """Answers by packed execution; captions are written greedily, from images whose closed tokens are masked.

    Args:
        run: a finished one.
        trim: how the trimmers decide; None runs at full capacity.
    """

    def __init__(self, run: FinishedRun, trim: Trim | None):
        self._run, self._trim = run, trim
        self._executor = PackedExecutor(run.model, run.params, run.config.execution)
        task = run.task
        self._task = task
        self._finish = jax.jit(task.choose if isinstance(task, ChoosingTask) else self._write)

    def __call__(self, images: Array, ids: Any, mask: Any) -> Answered:
        """The answers to a batch; arguments as in the model's call."""
        params, trim, task = self._run.params, self._trim, self._task
        output = self._executor(images, ids, mask, trim=trim)
        if isinstance(task, ChoosingTask):
            choice: Choice = self._finish(params, output, trim)
            texts = [task.choices[number] for number in np.asarray(choice.number)]
            return Answered(texts, np.asarray(choice.probability), choice.record)
        written: Generated = self._finish(params, images, trim)
        texts = [self._run.dataset.text.written(each) for each in np.asarray(written.ids)]
        return Answered(texts, np.exp(written.scores), output.record)

    def _write(self, params: Params, images: Array, trim: Trim | None) -> Generated:
        assert isinstance(self._task, Captions)
        text = self._run.dataset.text
        length = self._run.config.data.text_length
        wanted = GenerationConfig(eos_id=text.end_id, pad_id=text.pad_id, max_length=length)
        prompt = jnp.tile(jnp.asarray(self._task.prompt), (len(images), 1))
        return write_captions(self._run.model.bind(params), images, prompt, wanted, trim=trim)
