"""Classification: METER's task heads, and BLIP's head for statements about two images (NLVR2)."""

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
    """Classification by the logits of the head that has the task's name.

    Targets are one label per example, or several answers with weights (VQA's soft scores). Accuracy is the share of
    examples whose likeliest class is the label.
    """

    reads_answers = True

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self.choices = language.answer_names

    def loss(self, output: Any, batch: Batch, given: None) -> Float[Array, ""]:
        """Computes the loss `objective.loss` over the classes; see `Task.loss`.

        Args:
            output: A pass whose `logits[task]` are `[batch, classes]`.
            batch: The batch that the pass is of. With `answer_ids` and `answer_weights` `[batch, answers]` the
                targets are soft; otherwise `label` `[batch]` is the target.
            given: Always None.

        Returns:
            Scalar loss, the weighted mean over the batch.
        """
        kind = self.config.objective.loss
        logits = self._logits(output)
        if "answer_ids" in batch:
            targets = soft_targets(batch["answer_ids"], batch["answer_weights"], logits.shape[-1])
            losses = soft_task_loss(kind, logits, targets)
        else:
            losses = task_loss(kind, logits, batch["label"])
        return weighted_mean(losses, batch["weight"])

    def distance(self, full: Any, trimmed: Any, batch: Batch, given: None) -> Float[Array, ""]:
        """Distils the full pass's logits into the trimmed pass; see `Task.distance`.

        Args:
            full: The pass at full capacity, the teacher.
            trimmed: The trimmed pass, the student.
            batch: The batch that both passes are of.
            given: Always None.

        Returns:
            Scalar distance at temperature `objective.temperature`, the weighted mean over the batch.
        """
        objective = self.config.objective
        logits = self._logits(full), self._logits(trimmed)
        return weighted_mean(distillation_loss(objective.loss, *logits, objective.temperature), batch["weight"])

    def accuracy(self, output: Any, batch: Batch) -> Float[Array, ""]:
        """Measures how right the likeliest classes are.

        Args:
            output: A pass whose `logits[task]` are `[batch, classes]`.
            batch: The batch that the pass is of.

        Returns:
            Scalar share of examples whose likeliest class is the label; with weighted answers, the mean weight of the
            likeliest class.
        """
        chosen = jnp.argmax(self._logits(output), axis=-1)
        if "answer_ids" not in batch:
            return jnp.mean(chosen == batch["label"])
        return jnp.mean(jnp.sum(batch["answer_weights"] * (batch["answer_ids"] == chosen[:, None]), axis=1))

    def choose(self, params: Params, output: Any, trim: Trim | None) -> Choice:
        """Chooses the likeliest class; see `ChoosingTask.choose`.

        Args:
            params: Ignored; the output has the logits.
            output: Output whose `logits[task]` are `[batch, classes]`.
            trim: Ignored; the output has been trimmed already.

        Returns:
            The likeliest classes with their softmax probabilities, and the record of the output.
        """
        probabilities = jax.nn.softmax(self._logits(output))
        return Choice(jnp.argmax(probabilities, axis=-1), jnp.max(probabilities, axis=-1), output.record)

    def _logits(self, output: Any) -> Float[Array, "batch answers"]:
        logits: Array = output.logits[self.config.task]
        return logits
