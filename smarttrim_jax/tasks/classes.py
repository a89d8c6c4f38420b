"""Classes: METER's heads, and BLIP that judges statements."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.objectives.losses import distillation_loss, soft_targets, soft_task_loss, task_loss
from smarttrim_jax.objectives.total import weighted_mean
from smarttrim_jax.tasks.base import Batch, Choice, ChoosingTask
from smarttrim_jax.trimming.gates import Trim


class Classes(ChoosingTask):
    """A label, or several that count differently, by the logits of the task's name.

    Accuracy is the share of right first choices.
    """

    reads_answers = True

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self.choices = language.answer_names

    def loss(self, output: Any, batch: Batch, given: None) -> Float[Array, ""]:
        """The task's loss of a pass; see `Task.loss`."""
        kind = self.config.objective.loss
        logits = self._logits(output)
        if "answer_ids" in batch:
            targets = soft_targets(batch["answer_ids"], batch["answer_weights"], logits.shape[-1])
            losses = soft_task_loss(kind, logits, targets)
        else:
            losses = task_loss(kind, logits, batch["label"])
        return weighted_mean(losses, batch["weight"])

    def distance(self, full: Any, trimmed: Any, batch: Batch, given: None) -> Float[Array, ""]:
        """How far the trimmed pass is from the full one; see `Task.distance`."""
        objective = self.config.objective
        logits = self._logits(full), self._logits(trimmed)
        return weighted_mean(distillation_loss(objective.loss, *logits, objective.temperature), batch["weight"])

    def accuracy(self, output: Any, batch: Batch) -> Float[Array, ""]:
        """How well a training pass does; see `Task.accuracy`."""
        return jnp.mean(jnp.argmax(self._logits(output), axis=-1) == batch["label"])

    def choose(self, params: Params, output: Any, trim: Trim | None) -> Choice:
        """The choice for every example; see `ChoosingTask.choose`."""
        probabilities = jax.nn.softmax(self._logits(output))
        return Choice(jnp.argmax(probabilities, axis=-1), jnp.max(probabilities, axis=-1), output.record)

    def _logits(self, output: Any) -> Float[Array, "batch answers"]:
        return output.logits[self.config.task]
